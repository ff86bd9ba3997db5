import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import type { ListenAddress } from '../../contracts/listener.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import { plainAddress } from '../address-limit.ts';
import type { DescriptorShare } from '../descriptor-budget.ts';
import { OwnProbes } from '../own-probes.ts';
import { ConnectionIds } from './connection-ids.ts';
import { Flow, flowKey, literal, type SteeredSession, type SteeringTargets } from './flow.ts';
import { type AdmissionLimits, FlowAdmission } from './flow-admission.ts';
import { FlowRefusals } from './flow-refusals.ts';
import {
  googleVersionNegotiation,
  isLongHeader,
  type LongHeader,
  MAX_UDP_PAYLOAD_BYTES,
  MIN_INITIAL_BYTES,
  QUIC_V1,
  readLongHeader,
  SAFE_UDP_PAYLOAD_BYTES,
  versionNegotiation,
} from './quic-packet.ts';
import { UnprovenFlows } from './unproven-flows.ts';

export interface SteeringComponents {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'connectionsRefused'>;
  /** A client speaks KubeEdge's own QUIC. Anybody may have written the address. */
  onGoogleQuic(address: string): void;
  /** File descriptors for loopback sockets, one a flow; without it any number. */
  readonly descriptors?: DescriptorShare | undefined;
}

export interface SteeringOptions extends AdmissionLimits {
  readonly handshakeTimeoutMs: number;
  /** Flows whose address is not proven yet. */
  readonly unproven: number;
}

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
  readonly #byLocalPort = new Map<number, Flow>();
  readonly #flows = new Set<Flow>();
  readonly #connectionIds = new ConnectionIds();
  readonly #admission = new FlowAdmission();
  readonly #unproven = new UnprovenFlows();
  readonly #refusals: FlowRefusals;
  /** Those of this listener to itself. */
  readonly probes = new OwnProbes();
  #targets: SteeringTargets | undefined;
  #socket: Socket | undefined;
  #sweeper: Timer | undefined;

  constructor(components: SteeringComponents, options: () => SteeringOptions) {
    this.#components = components;
    this.#refusals = new FlowRefusals(components);
    this.#options = options;
  }

  get flows(): number {
    return this.#flows.size;
  }

  /** Where new flows go; undefined: nowhere, existing flows live on. */
  set targets(targets: SteeringTargets | undefined) {
    this.#targets = targets;
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

  /** A server opened a session. Undefined when its flow is gone, or it came another way. */
  claim(session: SteeredSession): Flow | undefined {
    const flow = this.#byLocalPort.get(session.remotePort);
    if (!flow) return undefined;
    flow.sessions.add(session);
    this.#unproven.meet(flow.address);
    this.#enter(flow, 'open');
    return flow;
  }

  /** A session of the flow ended. */
  release(session: SteeredSession): void {
    const flow = this.#byLocalPort.get(session.remotePort);
    if (flow?.sessions.delete(session)) this.#closeUnused(flow);
  }

  /**
   * The handshake of the peer that a server sees on this loopback port failed.
   * @returns address of the client, for the log; `OWN_PROBE` for the gateway itself
   */
  fail(localPort: number): string | undefined {
    const flow = this.#byLocalPort.get(localPort);
    if (!flow) return undefined;
    this.#closeUnused(flow);
    return flow.remoteAddress;
  }

  /** Forgets every flow to servers that are closed. */
  forget(targets: SteeringTargets): void {
    for (const flow of [...this.#flows]) if (targets.includes(flow.target)) this.#remove(flow);
  }

  #fromClient(datagram: Buffer, from: RemoteInfo): void {
    if (datagram.length > MAX_UDP_PAYLOAD_BYTES) return;
    const known = this.#byAddress.get(flowKey(from.address, from.port));
    if (!isLongHeader(datagram)) {
      this.#shortFromClient(datagram, from, known);
      return;
    }
    const refusal = googleVersionNegotiation(datagram);
    if (refusal) {
      this.#answer(refusal, from);
      this.#components.onGoogleQuic(plainAddress(from.address));
      return;
    }
    const header = readLongHeader(datagram);
    if (!header) return;
    if (header.version !== QUIC_V1) {
      this.#answer(versionNegotiation(datagram), from);
      return;
    }
    const owner = this.#connectionIds.find(header.destination);
    if (owner) {
      this.#continue(owner, datagram, from, header);
      return;
    }
    // A second connection from a known address belongs to the newest server, as every new one.
    const startsAnew =
      header.isInitial &&
      (known?.state === 'closing' || (known?.state === 'open' && !this.#targets?.includes(known.target)));
    if (known && !startsAnew) {
      known.forward(datagram);
      return;
    }
    if (header.isInitial && datagram.length >= MIN_INITIAL_BYTES) this.#begin(datagram, from, header);
  }

  #shortFromClient(datagram: Buffer, from: RemoteInfo, known: Flow | undefined): void {
    const id = this.#connectionIds.ofShortHeader(datagram);
    const owner = id === undefined ? undefined : this.#connectionIds.find(id);
    // A client changes its ID when it likes, and may change its address later.
    if (!owner && id !== undefined && known?.state === 'open') this.#connectionIds.learn(known, id);
    const flow = owner ?? known;
    if (flow && datagram.length <= flow.largest) this.#continue(flow, datagram, from);
  }

  /** @param header that of a long header: its ID proves that the client receives */
  #continue(flow: Flow, datagram: Buffer, from: RemoteInfo, header?: LongHeader): void {
    if (flow.address !== from.address || flow.port !== from.port) {
      const now = this.#components.clock.monotonic();
      if (flow.mayMoveTo(from.address, from.port, now)) this.#move(flow, from);
    } else {
      flow.stay();
      if (header && flow.state === 'new' && !this.#admit(flow, header)) return;
    }
    flow.forward(datagram);
  }

  #begin(datagram: Buffer, { address, port }: RemoteInfo, header: LongHeader): void {
    if (!this.#targets) return;
    if (!this.#makeRoom()) {
      this.#answer(this.#refusals.refuse(header, address, 'descriptors'), { address, port });
      return;
    }
    const now = this.#components.clock.monotonic();
    // A client that begins with larger ones (quic-go: 1280 bytes) counts on a path that carries them.
    const largest = Math.max(datagram.length, SAFE_UDP_PAYLOAD_BYTES);
    const flow = new Flow({ address, port, now, largest }, this.#targets.next(), {
      onReply: (self, reply) => this.#fromServer(self, reply),
      onBound: (self) => this.#byLocalPort.set(self.localPort, self),
      onError: (self) => this.#remove(self),
    });
    this.#flows.add(flow);
    flow.target.flows.add(flow);
    this.#unproven.add(flow);
    this.#byAddress.set(flow.key, flow);
    flow.forward(datagram);
  }

  /** For one more flow. @returns false when every descriptor belongs to somebody who has proven himself */
  #makeRoom(): boolean {
    const { descriptors } = this.#components;
    if (this.#unproven.size >= this.#options().unproven) this.#removeUnproven();
    if (!descriptors || descriptors.take()) return true;
    this.#removeUnproven();
    return descriptors.take();
  }

  #removeUnproven(): void {
    const flow = this.#unproven.next();
    if (flow) this.#remove(flow);
  }

  /**
   * The client proved its address. What is refused for too many handshakes is simply not passed on, and sent
   * again by the client.
   */
  #admit(flow: Flow, header: LongHeader): boolean {
    const limit = this.#admission.admit(flow, this.#options());
    if (limit === undefined) {
      flow.prove();
      // Its own end was told of before: this is not its first datagram any more.
      flow.isOwn = this.probes.has({
        remoteAddress: flow.address,
        remotePort: flow.port,
        localPort: this.address()?.port,
      });
      this.#enter(flow, 'handshaking');
      return true;
    }
    if (limit === 'handshakes') this.#components.metrics.connectionsRefused.inc({ transport: 'quic', limit });
    else {
      this.#answer(this.#refusals.refuse(header, flow.address, limit), flow);
      this.#remove(flow);
    }
    return false;
  }

  #fromServer(flow: Flow, datagram: Buffer): void {
    if (datagram.length > SAFE_UDP_PAYLOAD_BYTES) return;
    const header = readLongHeader(datagram);
    // A Retry matters only until the address is proven; later ones, provoked by anybody, must not push out
    // what is known.
    if (header && !(header.isRetry && flow.state !== 'new')) this.#connectionIds.learn(flow, header.source);
    if (flow.mayReply(datagram.length)) this.#socket?.send(datagram, flow.port, flow.address);
  }

  #move(flow: Flow, { address, port }: RemoteInfo): void {
    if (this.#byAddress.get(flow.key) === flow) this.#byAddress.delete(flow.key);
    this.#admission.move(flow, address);
    flow.move(address, port);
    this.#byAddress.set(flow.key, flow);
    // The library believes that its path is lost, and waits longer each time: what the peer acknowledges now
    // ends that.
    for (const session of flow.sessions) session.ping();
  }

  #answer(answer: Buffer | undefined, { address, port }: Pick<RemoteInfo, 'address' | 'port'>): void {
    if (answer) this.#socket?.send(answer, port, address);
  }

  #enter(flow: Flow, state: Flow['state']): void {
    if (flow.state === 'new') this.#unproven.delete(flow);
    this.#admission.follow(flow, state);
    flow.enter(state, this.#components.clock.monotonic());
  }

  #closeUnused(flow: Flow): void {
    if (flow.sessions.size === 0) this.#enter(flow, 'closing');
  }

  #sweep(): void {
    this.#refusals.sweep();
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
    this.#connectionIds.forget(flow);
    flow.target.flows.delete(flow);
    flow.close();
    this.#components.descriptors?.give();
  }
}
