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

export interface RelayOptions extends CloudCoreAddresses {
  /** How long a node may be without CloudCore before the gateway says that it is not ready, milliseconds. */
  readonly holdMs: number;
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
  #sweep: Timer | undefined;

  constructor(
    components: {
      readonly clock: Clock;
      readonly log: Logger;
      readonly metrics: Metrics;
      readonly authorities: () => readonly UpstreamAuthority[];
      readonly random?: () => number;
    },
    options: () => RelayOptions,
  ) {
    const { clock, metrics, random = Math.random } = components;
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
      opened: (link) => this.#moveTunnel(link),
      closed: (link) => {
        if (this.#links.get(link.node) === link) this.#links.delete(link.node);
      },
    };
    metrics.onScrape(() => this.#publish());
  }

  async start(): Promise<void> {
    this.#sweep = this.#clock.setInterval(() => {
      const now = this.#clock.monotonic();
      for (const link of this.#links.values()) link.sweep(now);
    }, SWEEP_MS);
  }

  async stop(): Promise<void> {
    this.#sweep?.cancel();
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
    const cloudcore = this.#homeOf(node, 'tunnel');
    const { socket, stream } = await dial(this.#parts, { ...request, cloudcore, to: 'tunnel' });
    const end = new TunnelEnd(socket, stream);
    this.#tunnels.set(node, { cloudcore, end });
    end.onClose(() => {
      if (this.#tunnels.get(node)?.end === end) this.#tunnels.delete(node);
    });
    return end;
  }

  ask(request: UpstreamRequest): Promise<UpstreamAnswer> {
    return ask(this.#parts, { ...request, cloudcore: this.#homeOf(request.node, 'https') });
  }

  /** The CloudCore that has the messages of a node. @throws UPSTREAM_UNAVAILABLE when it has no such place */
  #homeOf(node: string, to: 'tunnel' | 'https'): CloudCore {
    const link = this.#links.get(node);
    const cloudcore = (link?.isOpen ? link.cloudcore : undefined) ?? this.#cloudcores.pick(node);
    if (addressOf(cloudcore, to) !== undefined) return cloudcore;
    const problem = `upstream.${to}Addresses names no address of it`;
    throw new SallyportError('UPSTREAM_UNAVAILABLE', { address: cloudcore.address, problem });
  }

  /** The edge opens its tunnel again, to where its messages are now. */
  #moveTunnel({ node, cloudcore }: CloudCoreLink): void {
    const tunnel = this.#tunnels.get(node);
    if (tunnel && tunnel.cloudcore !== cloudcore) tunnel.end.close();
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
