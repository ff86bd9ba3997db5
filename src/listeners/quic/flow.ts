import { createSocket, type Socket } from 'node:dgram';
import { OWN_PROBE } from '../../core/own-probe.ts';
import { plainAddress } from '../address-limit.ts';

/** A QUIC server on a loopback port. */
export interface SteeringTarget {
  readonly port: number;
  /** Those that lead to it; the steering keeps them. */
  readonly flows: Set<Flow>;
}

/** The QUIC servers among which new flows are spread. */
export interface SteeringTargets {
  /** The one that takes the next flow. */
  next(): SteeringTarget;
  includes(target: SteeringTarget): boolean;
}

/** A session as a server of the library gives it. */
export interface SteeredSession {
  readonly remotePort: number;
  /** Sends something that the peer has to acknowledge. */
  ping(): unknown;
}

/** Before its address is proven, a client is sent at most three times what it sent (RFC 9000 §8.1). */
const AMPLIFICATION = 3;
/**
 * Answers from a changed address after which it counts as reachable; the path validation of QUIC itself is
 * out of our sight.
 */
const ANSWERS_AFTER_REBINDING = 8;
const CONTESTED_MS = 30_000;
/** Datagrams kept while the loopback socket connects: a client's first flight is one or two. */
const MAX_PENDING = 8;

/**
 * `new`: address unproven · `handshaking`: proven, no session yet · `open`: has a session · `closing`: its
 * last session ended.
 */
export type FlowState = 'new' | 'handshaking' | 'open' | 'closing';

export interface FlowEvents {
  onReply(flow: Flow, datagram: Buffer): void;
  onBound(flow: Flow): void;
  onError(flow: Flow): void;
}

/**
 * One client address and the connected loopback socket through which its datagrams reach the generation it
 * began on.
 */
export class Flow {
  readonly target: SteeringTarget;
  readonly connectionIds: string[] = [];
  address: string;
  port: number;
  state: FlowState = 'new';
  /** When the first datagram came, and when `state` was entered, milliseconds on the monotonic clock. */
  readonly startedAt: number;
  since: number;
  /** Bytes of the largest datagram that is taken from the client once it is connected. */
  readonly largest: number;
  readonly sessions = new Set<SteeredSession>();
  /** Port of the loopback socket, by which a session finds its flow; 0 until bound. */
  localPort = 0;
  /** It carries a probe by which this listener tries itself. */
  isOwn = false;
  readonly #socket: Socket;
  #pending: Buffer[] | undefined = [];
  #proven = false;
  #received = 0;
  #sent = 0;
  #answersMissing: number | undefined;
  #former: { readonly address: string; readonly port: number } | undefined;
  #contestedUntil = 0;
  #candidate: { readonly address: string; readonly port: number; answered: boolean } | undefined;

  constructor(
    client: { address: string; port: number; now: number; largest: number },
    target: SteeringTarget,
    events: FlowEvents,
  ) {
    this.address = client.address;
    this.port = client.port;
    this.startedAt = client.now;
    this.since = client.now;
    this.largest = client.largest;
    this.target = target;
    this.#socket = createSocket({ type: 'udp4', lookup: literal });
    this.#socket.on('message', (datagram) => events.onReply(this, datagram));
    this.#socket.on('error', () => events.onError(this));
    this.#socket.connect(target.port, '127.0.0.1', () => {
      this.localPort = this.#socket.address().port;
      events.onBound(this);
      for (const datagram of this.#pending ?? []) this.#socket.send(datagram);
      this.#pending = undefined;
    });
  }

  get key(): string {
    return flowKey(this.address, this.port);
  }

  /** Address of the client, for logs and limits of others; `OWN_PROBE` for the gateway itself. */
  get remoteAddress(): string {
    return this.isOwn ? OWN_PROBE : plainAddress(this.address);
  }

  enter(state: FlowState, now: number): void {
    this.state = state;
    this.since = now;
  }

  /** The client used a connection ID that only somebody who received our datagrams can know. */
  prove(): void {
    this.#proven = true;
  }

  /** Passes a datagram of the client on to the generation. */
  forward(datagram: Buffer): void {
    if (!this.#proven) {
      this.#received += datagram.length;
      if (this.#answersMissing !== undefined && this.#sent > 0 && --this.#answersMissing <= 0)
        this.#proven = true;
    }
    if (!this.#pending) this.#socket.send(datagram);
    else if (this.#pending.length < MAX_PENDING) this.#pending.push(datagram);
  }

  /** Whether this many bytes may be sent to the client now; counts them when they may. */
  mayReply(bytes: number): boolean {
    if (this.#candidate) this.#candidate.answered = true;
    if (this.#proven) return true;
    if (this.#sent + bytes > AMPLIFICATION * this.#received) return false;
    this.#sent += bytes;
    return true;
  }

  /**
   * A datagram with a connection ID of this flow came from another address. It may be the client behind a NAT
   * that changed its mind, or somebody who repeats or invents datagrams; only the server can tell, by
   * answering. So the address is believed when it sends again after the server answered, unless the known
   * address was heard in between. Should the former address speak after a move, it was no NAT: it gets the
   * flow back at once, and keeps it for a while.
   */
  mayMoveTo(address: string, port: number, now: number): boolean {
    if (this.#former?.address === address && this.#former.port === port) {
      this.#contestedUntil = now + CONTESTED_MS;
      return true;
    }
    if (now < this.#contestedUntil) return false;
    if (this.#candidate?.address === address && this.#candidate.port === port)
      return this.#candidate.answered;
    this.#candidate = { address, port, answered: false };
    return false;
  }

  /** The known address was heard. */
  stay(): void {
    this.#candidate = undefined;
  }

  /** The client's address changed. The new one has to prove itself. */
  move(address: string, port: number): void {
    this.#candidate = undefined;
    this.isOwn = false;
    const isReturn = this.#former?.address === address && this.#former.port === port;
    this.#former = isReturn ? undefined : { address: this.address, port: this.port };
    this.address = address;
    this.port = port;
    this.#proven = false;
    this.#received = 0;
    this.#sent = 0;
    this.#answersMissing = ANSWERS_AFTER_REBINDING;
  }

  close(): void {
    this.#socket.removeAllListeners('message');
    this.#socket.close();
  }
}

export function flowKey(address: string, port: number): string {
  return `${port}/${address}`;
}

/** Addresses are always literal here: no resolver, and no turn of the event loop lost to one. */
export function literal(
  address: string,
  _options: unknown,
  callback: (error: NodeJS.ErrnoException | null, address: string, family: number) => void,
): void {
  callback(null, address, address.includes(':') ? 6 : 4);
}
