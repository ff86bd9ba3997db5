import type {
  RelayedEdge,
  TunnelDialer,
  UpstreamAnswer,
  UpstreamAsker,
  UpstreamAuthority,
  UpstreamLink,
  UpstreamRelay,
  UpstreamRequest,
} from '../contracts/upstream-relay.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import type { Component } from '../core/lifecycle.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { TunnelEnd } from '../protocol/tunnel-end.ts';
import { ask } from './ask.ts';
import { type CloudCore, type CloudCoreAddresses, CloudCores } from './cloudcores.ts';
import { addressOf, dial } from './dial.ts';
import { NodeCertificates } from './node-certificates.ts';
import { CloudCoreLink, type LinkParts } from './upstream-link.ts';

const SWEEP_MS = 1_000;
/** How often tunnels are looked at whose node has its session at another gateway. */
const TUNNELS_MS = 30_000;

export interface RelayOptions extends CloudCoreAddresses {
  /** How long a node may be without CloudCore before the gateway says that it is not ready, milliseconds. */
  readonly holdMs: number;
}

interface RelayParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly authorities: () => readonly UpstreamAuthority[];
  /** Address of the CloudCore that a node has through another gateway; undefined when nobody knows. */
  readonly homeElsewhere?: (node: string) => Promise<string | undefined>;
  readonly random?: () => number;
}

/** Stands, for each node, between its session and an unmodified CloudCore. */
export class CloudCoreRelay implements UpstreamRelay, TunnelDialer, UpstreamAsker, Component {
  readonly name = 'relay';
  readonly #clock: Clock;
  readonly #metrics: Metrics;
  readonly #options: () => RelayOptions;
  readonly #cloudcores: CloudCores;
  readonly #parts: LinkParts;
  readonly #links = new Map<string, CloudCoreLink>();
  /** By node; both sockets of a node have to be at one CloudCore. */
  readonly #tunnels = new Map<string, { readonly cloudcore: CloudCore; readonly end: TunnelEnd }>();
  readonly #homeElsewhere: NonNullable<RelayParts['homeElsewhere']>;
  readonly #timers: Timer[] = [];
  #isFollowing = false;

  constructor(components: RelayParts, options: () => RelayOptions) {
    const { clock, metrics, random = Math.random } = components;
    this.#homeElsewhere = components.homeElsewhere ?? (async () => undefined);
    this.#clock = clock;
    this.#metrics = metrics;
    this.#options = options;
    this.#cloudcores = new CloudCores({ clock }, options);
    this.#parts = {
      ...components,
      random,
      // One for all links: thousands of nodes lose the same CloudCore at once.
      sampler: new LogSampler({ clock }),
      certificates: new NodeCertificates({ clock }),
      cloudcores: this.#cloudcores,
      answers: { lastAt: 0 },
      opened: ({ node, cloudcore }) => this.#moveTunnel(node, cloudcore),
      closed: (link) => {
        if (this.#links.get(link.node) === link) this.#links.delete(link.node);
      },
    };
    metrics.onScrape(() => this.#publish());
  }

  async start(): Promise<void> {
    const sweep = () => {
      const now = this.#clock.monotonic();
      for (const link of this.#links.values()) link.sweep(now);
    };
    this.#timers.push(
      this.#clock.setInterval(sweep, SWEEP_MS),
      this.#clock.setInterval(() => void this.#followTunnels(), TUNNELS_MS),
    );
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) timer.cancel();
    for (const link of [...this.#links.values()]) link.close();
    for (const { end } of this.#tunnels.values()) end.close();
  }

  open(edge: RelayedEdge): UpstreamLink {
    const link = new CloudCoreLink(this.#parts, edge);
    this.#links.set(edge.node, link);
    return link;
  }

  async dialTunnel(request: Parameters<TunnelDialer['dialTunnel']>[0]): Promise<TunnelEnd> {
    const { node } = request;
    const cloudcore = await this.#homeOf(node, 'tunnel');
    const { socket, stream } = await dial(this.#parts, { ...request, cloudcore, to: 'tunnel' });
    const end = new TunnelEnd(socket, stream);
    this.#tunnels.set(node, { cloudcore, end });
    end.onClose(() => {
      if (this.#tunnels.get(node)?.end === end) this.#tunnels.delete(node);
    });
    return end;
  }

  async ask(request: UpstreamRequest): Promise<UpstreamAnswer> {
    return ask(this.#parts, { ...request, cloudcore: await this.#homeOf(request.node, 'https') });
  }

  /** The CloudCore that has the messages of a node. @throws UPSTREAM_UNAVAILABLE when it has no such place */
  async #homeOf(node: string, to: 'tunnel' | 'https'): Promise<CloudCore> {
    const cloudcore = (await this.#knownHome(node)) ?? this.#cloudcores.pick(node);
    if (addressOf(cloudcore, to) !== undefined) return cloudcore;
    const problem = `upstream.${to}Addresses names no address of it`;
    throw new SallyportError('UPSTREAM_UNAVAILABLE', { address: cloudcore.address, problem });
  }

  async #knownHome(node: string): Promise<CloudCore | undefined> {
    const link = this.#links.get(node);
    if (link?.isOpen) return link.cloudcore;
    const address = await this.#homeElsewhere(node).catch(() => undefined);
    return this.#cloudcores.list().find((one) => one.address === address);
  }

  /** The edge opens its tunnel again, to where its messages are now. */
  #moveTunnel(node: string, home: CloudCore | undefined): void {
    const tunnel = this.#tunnels.get(node);
    if (tunnel && home && tunnel.cloudcore !== home) tunnel.end.close();
  }

  /** One after the other: they are not urgent, and each may be a question to another gateway. */
  async #followTunnels(): Promise<void> {
    if (this.#isFollowing) return;
    this.#isFollowing = true;
    for (const node of [...this.#tunnels.keys()]) this.#moveTunnel(node, await this.#knownHome(node));
    this.#isFollowing = false;
  }

  /** Why the gateway should get no new edges: nodes have been without CloudCore for too long. */
  problem(): string | undefined {
    const now = this.#clock.monotonic();
    const { holdMs } = this.#options();
    const lost = [...this.#links.values()].filter((link) => link.lostMs(now) >= holdMs).length;
    return lost === 0 ? undefined : `${lost} of ${this.#links.size} nodes have no CloudCore`;
  }

  #publish(): void {
    const all = [...this.#links.values()];
    for (const cloudcore of this.#cloudcores.list()) {
      const open = all.filter((link) => link.isOpen && link.cloudcore === cloudcore).length;
      this.#metrics.upstreamConnections.set({ cloudcore: cloudcore.address }, open);
    }
    this.#metrics.upstreamWaiting.set(all.filter((link) => !link.isOpen).length);
  }
}
