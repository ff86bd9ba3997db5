import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Clock } from '../core/clock.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { OWN_PROBE } from '../core/own-probe.ts';
import type { ListenerName } from '../protocol/listener-names.ts';
import { AddressLimit, plainAddress } from './address-limit.ts';
import { awaitClientHello } from './client-hello.ts';
import type { DescriptorShare } from './descriptor-budget.ts';
import { HandshakePlaces } from './handshake-places.ts';
import type { OwnProbes } from './own-probes.ts';
import { awaitProxyHeader, CidrList } from './proxy-protocol.ts';

/** The part of `limits` in the configuration that servers over TCP obey. */
export interface TlsServerLimits {
  readonly connections: number;
  readonly connectionsPerIp: number;
  readonly handshakes: number;
  readonly handshakeTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly proxyProtocolFrom: readonly string[];
}

/**
 * `proxy`: its PROXY header is awaited; `silent`: its first bytes are; `handshake`: it has a place, or waits
 * for one; `session`: handed over to its owner.
 */
type Phase = 'proxy' | 'silent' | 'handshake' | 'open' | 'session';

export interface AcceptedSocket {
  readonly raw: Socket;
  /** Of the peer; `OWN_PROBE` once it is known that the gateway itself is the peer. */
  address: string;
  /** The address that counts against the cap per address; a trusted balancer's own does not. */
  counted: string | undefined;
  /** Milliseconds on the monotonic clock. */
  readonly acceptedAt: number;
  phase: Phase;
  /** Requests without a complete answer. */
  requests: number;
  /** What it began its handshake with, until that is done. */
  hello: Buffer | undefined;
  /** Over it, once its handshake is done. */
  secure: TLSSocket | undefined;
}

export interface AcceptedSocketsOptions {
  readonly name: ListenerName;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** File descriptors that the sockets may use; without it any number. */
  readonly descriptors?: DescriptorShare | undefined;
  /** Those of this server to itself. */
  readonly probes: Pick<OwnProbes, 'has'>;
  /** Asked again whenever a value is used. `proxyProtocolFrom` is read once. */
  limits(): TlsServerLimits;
}

/** What becomes of a socket; each is called once at most. */
export interface AcceptedSocketEvents {
  /** It has a place: the handshake may begin. */
  handshake(raw: Socket): void;
  noProxyHeader(socket: AcceptedSocket): void;
  /** Its handshake was not done in time; it is ended. */
  late(socket: AcceptedSocket): void;
  closed(socket: AcceptedSocket): void;
}

/** Sockets looked at to find a silent one, at each accept beyond a limit. */
const MOST_LOOKED_AT = 64;
const ACCEPTED = Symbol('accepted');
/** Both the TCP socket and the TLS socket over it carry their entry. */
type Tracked = Socket & { [ACCEPTED]?: AcceptedSocket | undefined };

/**
 * A server's sockets, and what comes before TLS: the caps, the PROXY header of a trusted balancer, the first
 * bytes, the place among the handshakes and the deadline. A newcomer beyond a cap takes the room of the
 * socket that has been silent longest (N1, I2, N6).
 */
export class AcceptedSockets {
  readonly #options: AcceptedSocketsOptions;
  readonly #events: AcceptedSocketEvents;
  readonly #all = new Set<AcceptedSocket>();
  /** Sockets whose handshake is not done, oldest first. */
  readonly #unfinished = new Set<AcceptedSocket>();
  readonly #places: HandshakePlaces<AcceptedSocket>;
  readonly #perAddress = new AddressLimit();
  readonly #sampler: LogSampler;
  readonly #proxies: CidrList;
  /** One listener for all sockets; `this` is the socket. */
  readonly #onRawClose: (this: Tracked) => void;

  constructor(options: AcceptedSocketsOptions, events: AcceptedSocketEvents) {
    this.#options = options;
    this.#events = events;
    this.#sampler = new LogSampler({ clock: options.clock });
    this.#proxies = new CidrList(options.limits().proxyProtocolFrom);
    this.#places = new HandshakePlaces(
      { limit: () => options.limits().handshakes, now: () => options.clock.monotonic() },
      ({ raw }) => events.handshake(raw),
    );
    const closed = (socket: AcceptedSocket | undefined) => socket && this.#closed(socket);
    this.#onRawClose = function () {
      closed(this[ACCEPTED]);
    };
  }

  /** Open sockets of all phases. */
  get size(): number {
    return this.#all.size;
  }

  /** May be changed while it is gone through. */
  [Symbol.iterator](): IterableIterator<AcceptedSocket> {
    return [...this.#all].values();
  }

  /** The entry of a TCP socket, or of the TLS socket that was {@link secured}. */
  of(socket: Socket): AcceptedSocket | undefined {
    return (socket as Tracked)[ACCEPTED];
  }

  /** Lets a new socket in, or ends it with a reset, a count and a line in the log. */
  accept(raw: Socket): void {
    const { clock, metrics, name } = this.#options;
    const address = plainAddress(raw.remoteAddress);
    const viaProxy = this.#proxies.has(address);
    const limit = this.#exceeded(viaProxy ? undefined : address);
    if (limit !== undefined) {
      this.#refuse(raw, address, limit);
      return;
    }
    const socket: AcceptedSocket = {
      raw,
      address,
      counted: viaProxy ? undefined : address,
      acceptedAt: clock.monotonic(),
      phase: viaProxy ? 'proxy' : 'silent',
      requests: 0,
      hello: undefined,
      secure: undefined,
    };
    (raw as Tracked)[ACCEPTED] = socket;
    this.#all.add(socket);
    this.#unfinished.add(socket);
    metrics.connections.inc({ transport: name });
    raw.on('error', ignore);
    raw.on('close', this.#onRawClose);
    if (viaProxy) this.#awaitProxyHeader(socket);
    else this.#listen(socket);
  }

  /** Its handshake is done. @returns undefined for a TLS socket over a socket that was not accepted here */
  secured(secure: TLSSocket): AcceptedSocket | undefined {
    const socket = underneath(secure);
    if (!socket) return undefined;
    (secure as Tracked)[ACCEPTED] = socket;
    socket.hello = undefined;
    socket.secure = secure;
    this.#leaveHandshake(socket);
    socket.phase = 'open';
    return socket;
  }

  /** Ends handshakes that take too long, and lets the next ones begin. */
  sweep(): void {
    this.#places.sweep();
    const { clock, limits } = this.#options;
    const latest = clock.monotonic() - limits().handshakeTimeoutMs;
    for (const socket of this.#unfinished) {
      if (socket.acceptedAt > latest) break;
      this.#events.late(socket);
      socket.raw.destroy();
      this.#unfinished.delete(socket);
    }
  }

  /** Takes a newcomer's room under every cap. @returns the cap that has none; then nothing is taken */
  #exceeded(address: string | undefined): string | undefined {
    const { limits, descriptors } = this.#options;
    if (this.#all.size >= limits().connections && !this.#endSilent('connections')) return 'connections';
    if (address !== undefined && !this.#countAddress(address)) return 'connections-per-ip';
    if (!descriptors || descriptors.take()) return undefined;
    if (this.#endSilent('descriptors') && descriptors.take()) return undefined;
    if (address !== undefined) this.#perAddress.remove(address);
    return 'descriptors';
  }

  #refuse(raw: Socket, remoteAddress: string, limit: string): void {
    raw.on('error', ignore);
    // A reset, not an orderly end: no state is kept for a peer that is not let in.
    raw.resetAndDestroy();
    const { log, metrics, name } = this.#options;
    metrics.connectionsRefused.inc({ transport: name, limit });
    const suppressed = this.#sampler.pass(`limit ${limit}`);
    if (suppressed !== undefined)
      log.warn({ remoteAddress, limit, suppressed }, 'a connection was refused by a limit');
  }

  /** A place among the handshakes is asked for when there is something to do (N1, I2). */
  #listen(socket: AcceptedSocket): void {
    socket.phase = 'silent';
    awaitClientHello(socket.raw, (hello) => {
      this.#recognise(socket);
      socket.hello = hello;
      socket.phase = 'handshake';
      this.#places.ask(socket);
    });
  }

  #countAddress(address: string): boolean {
    const { connectionsPerIp } = this.#options.limits();
    if (this.#perAddress.add(address, connectionsPerIp)) return true;
    return this.#endSilent('connections-per-ip', address) && this.#perAddress.add(address, connectionsPerIp);
  }

  /**
   * Ends the socket that has been silent longest, in favour of a newcomer, who speaks at once when he is no
   * stranger. @param address only one of this address @returns false when there was none
   */
  #endSilent(limit: string, address?: string): boolean {
    let looked = 0;
    for (const socket of this.#unfinished) {
      if (socket.phase === 'silent' && (address === undefined || socket.counted === address)) {
        this.#options.metrics.connectionsRefused.inc({ transport: this.#options.name, limit });
        socket.raw.resetAndDestroy();
        this.#closed(socket);
        return true;
      }
      if (++looked >= MOST_LOOKED_AT) return false;
    }
    return false;
  }

  #awaitProxyHeader(socket: AcceptedSocket): void {
    const { raw } = socket;
    awaitProxyHeader(raw, (header) => {
      this.#recognise(socket);
      if (header.kind === 'invalid') {
        this.#events.noProxyHeader(socket);
        raw.destroy();
        return;
      }
      if (header.address !== undefined) {
        socket.address = header.address;
        if (!this.#countAddress(header.address)) {
          this.#refuse(raw, header.address, 'connections-per-ip');
          return;
        }
        socket.counted = header.address;
      }
      this.#listen(socket);
    });
  }

  /** With its first bytes: the gateway's own end of a connection is told of before it sends any. */
  #recognise(socket: AcceptedSocket): void {
    if (this.#options.probes.has(socket.raw)) socket.address = OWN_PROBE;
  }

  #leaveHandshake(socket: AcceptedSocket): void {
    this.#unfinished.delete(socket);
    if (socket.phase === 'handshake') this.#places.leave(socket);
  }

  #closed(socket: AcceptedSocket): void {
    if (!this.#all.delete(socket)) return;
    this.#leaveHandshake(socket);
    this.#events.closed(socket);
    if (socket.counted !== undefined) this.#perAddress.remove(socket.counted);
    this.#options.descriptors?.give();
    this.#options.metrics.connections.dec({ transport: this.#options.name });
  }
}

/**
 * The entry of the TCP socket under a server's TLS socket, which Node keeps in `_parent`; without one the
 * socket is a stranger.
 */
export function underneath(secure: TLSSocket | undefined): AcceptedSocket | undefined {
  return (secure as { _parent?: Tracked } | undefined)?._parent?.[ACCEPTED];
}

/** A socket without an `error` listener would end the process. */
function ignore(): void {}
