import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import type { ListenAddress } from '../../contracts/listener.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import { plainAddress } from '../address-limit.ts';
import type { DescriptorShare } from '../descriptor-budget.ts';
import { Flow, flowKey, literal, type SteeringTarget } from './flow.ts';
import {
  googleVersionNegotiation,
  isLongHeader,
  MAX_UDP_PAYLOAD_BYTES,
  MIN_INITIAL_BYTES,
  QUIC_V1,
  readLongHeader,
  readShortDestination,
  versionNegotiation,
} from './quic-packet.ts';

export interface SteeringComponents {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'connectionsRefused'>;
  /** File descriptors that flows may use; without it any number. */
  readonly descriptors?: DescriptorShare | undefined;
}

export interface SteeringOptions {
  /** Flows in all, and of one address. */
  readonly connections: number;
  readonly connectionsPerIp: number;
  /** Proven flows without a session. */
  readonly handshakes: number;
  readonly handshakeTimeoutMs: number;
}

/**
 * Flows whose address is not proven yet, each with a socket of its own. When full, the oldest goes: at 10,000
 * forged first datagrams a second a real client has 0.4 s to answer its Retry. That is longer than the way
 * around the world and back; what lies further away waits until the flood is over.
 */
const MAX_UNPROVEN = 4_096;
/**
 * How long a flow outlives its last session, for the final datagrams (RFC 9000 §10.2: three times the probe
 * time-out).
 */
const LINGER_MS = 3_000;
const SWEEP_MS = 1_000;

/**
 * One public UDP socket in front of several QUIC servers. A flow stays with the server it began on; new flows
 * go to the newest. When a client's address changes, its server is found by the connection ID, learnt from
 * the long headers the server wrote. Bounded, and without state for datagrams that are no proper first
 * datagram. docs/decisions/quic-hot-swap.md says why this exists.
 */
export class FlowSteering {
  readonly #components: SteeringComponents;
  readonly #options: () => SteeringOptions;
  readonly #byAddress = new Map<string, Flow>();
  readonly #byConnectionId = new Map<string, Flow>();
  readonly #byLocalPort = new Map<number, Flow>();
  readonly #flows = new Set<Flow>();
  readonly #perIp = new Map<string, number>();
  /** In the order of their beginning. */
  readonly #unproven = new Set<Flow>();
  #handshaking = 0;
  #counted = 0;
  #connectionIdBytes = 0;
  #target: SteeringTarget | undefined;
  #socket: Socket | undefined;
  #sweeper: Timer | undefined;

  constructor(components: SteeringComponents, options: () => SteeringOptions) {
    this.#components = components;
    this.#options = options;
  }

  get flows(): number {
    return this.#flows.size;
  }

  /** Where new flows go; undefined: nowhere, existing flows live on. */
  set target(target: SteeringTarget | undefined) {
    this.#target = target;
  }

  /**
   * Binds. An IPv6 host takes IPv4 as well, unless the system says otherwise. Rejects with the system's
   * error.
   */
  async start(host: string, port: number): Promise<void> {
    const socket = createSocket({
      type: isIPv6(host) ? 'udp6' : 'udp4',
      lookup: literal,
      recvBufferSize: 4 * 1024 * 1024,
      sendBufferSize: 4 * 1024 * 1024,
    });
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.bind({ address: host, port }, () => {
        socket.off('error', reject);
        resolve();
      });
    });
    // A client that became unreachable is no fault of the socket.
    socket.on('error', (err) => this.#components.log.debug({ err }, 'could not send a QUIC datagram'));
    socket.on('message', (datagram, from) => this.#fromClient(datagram, from));
    this.#socket = socket;
    this.#sweeper = this.#components.clock.setInterval(() => this.#sweep(), SWEEP_MS);
  }

  address(): ListenAddress | undefined {
    const bound = this.#socket?.address();
    return bound && { host: bound.address, port: bound.port };
  }

  async close(): Promise<void> {
    this.#sweeper?.cancel();
    for (const flow of [...this.#flows]) this.#remove(flow);
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket) await new Promise<void>((resolve) => socket.close(() => resolve()));
  }

  /**
   * A session was opened by the peer that a server sees on this loopback port. Undefined when the flow is
   * gone.
   */
  claim(localPort: number): Flow | undefined {
    const flow = this.#byLocalPort.get(localPort);
    if (!flow) return undefined;
    flow.sessions++;
    this.#enter(flow, 'open');
    return flow;
  }

  /** A session of the flow ended, or (without `claim` before) its handshake failed. */
  release(localPort: number, { claimed }: { claimed: boolean }): void {
    const flow = this.#byLocalPort.get(localPort);
    if (!flow) return;
    if (claimed) flow.sessions--;
    if (flow.sessions === 0) this.#enter(flow, 'closing');
  }

  /** Address of the client behind a loopback port, for the log of a failed handshake. */
  clientOf(localPort: number): string | undefined {
    const flow = this.#byLocalPort.get(localPort);
    return flow && plainAddress(flow.address);
  }

  /** Flows of one server, whatever their state. */
  flowsOf(target: SteeringTarget): number {
    let count = 0;
    for (const flow of this.#flows) if (flow.target === target) count++;
    return count;
  }

  /**
   * Flows of one server on which something may still come up; the others only repeat that they are closed.
   */
  openFlowsOf(target: SteeringTarget): number {
    let count = 0;
    for (const flow of this.#flows) if (flow.target === target && flow.state !== 'closing') count++;
    return count;
  }

  /** Forgets every flow of a server that is closed. */
  forget(target: SteeringTarget): void {
    for (const flow of [...this.#flows]) if (flow.target === target) this.#remove(flow);
  }

  #fromClient(datagram: Buffer, from: RemoteInfo): void {
    if (datagram.length > MAX_UDP_PAYLOAD_BYTES) return;
    const known = this.#byAddress.get(flowKey(from.address, from.port));
    if (!isLongHeader(datagram)) {
      this.#shortFromClient(datagram, from, known);
      return;
    }
    const header = readLongHeader(datagram);
    if (!header) return;
    if (header.version !== QUIC_V1) {
      this.#negotiate(versionNegotiation(datagram), from);
      return;
    }
    const owner = this.#byConnectionId.get(header.destination);
    if (owner) {
      this.#continue(owner, datagram, from, { proves: true });
      return;
    }
    // A second connection from a known address belongs to the newest server, as every new one.
    const startsAnew =
      header.isInitial &&
      (known?.state === 'closing' || (known?.state === 'open' && known.target !== this.#target));
    if (known && !startsAnew) {
      known.forward(datagram);
      return;
    }
    if (header.isInitial && datagram.length >= MIN_INITIAL_BYTES) this.#begin(datagram, from);
  }

  #shortFromClient(datagram: Buffer, from: RemoteInfo, known: Flow | undefined): void {
    const id = readShortDestination(datagram, this.#connectionIdBytes);
    const owner = (id && this.#byConnectionId.get(id)) ?? known;
    if (owner) this.#continue(owner, datagram, from, { proves: false });
    else this.#negotiate(googleVersionNegotiation(datagram), from);
  }

  #continue(flow: Flow, datagram: Buffer, from: RemoteInfo, { proves }: { proves: boolean }): void {
    if (flow.address !== from.address || flow.port !== from.port) {
      const now = this.#components.clock.monotonic();
      if (flow.mayMoveTo(from.address, from.port, now)) this.#move(flow, from);
    } else {
      flow.stay();
      if (proves && flow.state === 'new' && !this.#admit(flow)) return;
    }
    flow.forward(datagram);
  }

  #begin(datagram: Buffer, { address, port }: RemoteInfo): void {
    if (!this.#target || !this.#makeRoom()) return;
    const flow = new Flow({ address, port, now: this.#components.clock.monotonic() }, this.#target, {
      onReply: (self, reply) => this.#fromServer(self, reply),
      onBound: (self) => this.#byLocalPort.set(self.localPort, self),
      onError: (self) => this.#remove(self),
    });
    this.#flows.add(flow);
    this.#unproven.add(flow);
    this.#byAddress.set(flow.key, flow);
    flow.forward(datagram);
  }

  /** For one more flow. @returns false when every descriptor belongs to somebody who has proven himself */
  #makeRoom(): boolean {
    const { descriptors, metrics } = this.#components;
    if (this.#unproven.size >= MAX_UNPROVEN) this.#removeOldestUnproven();
    if (!descriptors || descriptors.take()) return true;
    this.#removeOldestUnproven();
    if (descriptors.take()) return true;
    metrics.connectionsRefused.inc({ transport: 'quic', limit: 'descriptors' });
    return false;
  }

  #removeOldestUnproven(): void {
    const [oldest] = this.#unproven;
    if (oldest) this.#remove(oldest);
  }

  /**
   * The client proved its address. Only now do limits count it: whoever forges senders must not use up
   * somebody else's share. What is refused for too many handshakes is simply not passed on, and sent again by
   * the client.
   */
  #admit(flow: Flow): boolean {
    const { connections, connectionsPerIp, handshakes } = this.#options();
    const limit =
      this.#counted >= connections
        ? 'connections'
        : (this.#perIp.get(flow.address) ?? 0) >= connectionsPerIp
          ? 'connectionsPerIp'
          : this.#handshaking >= handshakes
            ? 'handshakes'
            : undefined;
    if (limit === undefined) {
      flow.prove();
      flow.isCounted = true;
      this.#counted++;
      this.#count(flow.address, 1);
      this.#enter(flow, 'handshaking');
      return true;
    }
    this.#components.metrics.connectionsRefused.inc({ transport: 'quic', limit });
    if (limit !== 'handshakes') this.#remove(flow);
    return false;
  }

  #fromServer(flow: Flow, datagram: Buffer): void {
    if (datagram.length > MAX_UDP_PAYLOAD_BYTES) return;
    const header = readLongHeader(datagram);
    // A Retry matters only until the address is proven; later ones, provoked by anybody, must not push out
    // what is known.
    if (header && !(header.isRetry && flow.state !== 'new')) this.#learn(flow, header.source);
    if (flow.mayReply(datagram.length)) this.#socket?.send(datagram, flow.port, flow.address);
  }

  #learn(flow: Flow, connectionId: string | undefined): void {
    const owner = connectionId ? this.#byConnectionId.get(connectionId) : undefined;
    // The library derives the ID in a Retry from the client's: whoever repeats a client's first datagram is
    // answered with the ID of its connection, and must not get it.
    if (!connectionId || owner === flow || (owner && owner.state !== 'new')) return;
    this.#byConnectionId.set(connectionId, flow);
    this.#connectionIdBytes = connectionId.length;
    flow.connectionIds.push(connectionId);
    // A Retry's ID, then the connection's; more only when one address opens several connections.
    if (flow.connectionIds.length > 16) this.#byConnectionId.delete(flow.connectionIds.shift()!);
  }

  #move(flow: Flow, { address, port }: RemoteInfo): void {
    if (this.#byAddress.get(flow.key) === flow) this.#byAddress.delete(flow.key);
    if (flow.isCounted) this.#count(flow.address, -1);
    flow.move(address, port);
    this.#byAddress.set(flow.key, flow);
    if (flow.isCounted) this.#count(address, 1);
  }

  #negotiate(answer: Buffer | undefined, { address, port }: RemoteInfo): void {
    if (answer) this.#socket?.send(answer, port, address);
  }

  #enter(flow: Flow, state: Flow['state']): void {
    if (flow.state === 'new') this.#unproven.delete(flow);
    if (flow.state === 'handshaking') this.#handshaking--;
    if (state === 'handshaking') this.#handshaking++;
    if (state === 'closing') this.#uncount(flow);
    flow.enter(state, this.#components.clock.monotonic());
  }

  #sweep(): void {
    const now = this.#components.clock.monotonic();
    const { handshakeTimeoutMs } = this.#options();
    for (const flow of this.#flows) {
      if (flow.state === 'open') continue;
      const limitMs = flow.state === 'closing' ? LINGER_MS : handshakeTimeoutMs;
      if (now - flow.since >= limitMs) this.#remove(flow);
    }
  }

  #remove(flow: Flow): void {
    if (!this.#flows.delete(flow)) return;
    this.#enter(flow, 'closing');
    if (this.#byAddress.get(flow.key) === flow) this.#byAddress.delete(flow.key);
    if (this.#byLocalPort.get(flow.localPort) === flow) this.#byLocalPort.delete(flow.localPort);
    for (const id of flow.connectionIds)
      if (this.#byConnectionId.get(id) === flow) this.#byConnectionId.delete(id);
    flow.close();
    this.#components.descriptors?.give();
  }

  #uncount(flow: Flow): void {
    if (!flow.isCounted) return;
    flow.isCounted = false;
    this.#counted--;
    this.#count(flow.address, -1);
  }

  #count(address: string, change: 1 | -1): void {
    const count = (this.#perIp.get(address) ?? 0) + change;
    if (count > 0) this.#perIp.set(address, count);
    else this.#perIp.delete(address);
  }
}
