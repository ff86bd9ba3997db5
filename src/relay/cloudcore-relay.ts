import type {
  RelayedEdge,
  UpstreamAuthority,
  UpstreamLink,
  UpstreamRelay,
} from '../contracts/upstream-relay.ts';
import type { Clock, Timer } from '../core/clock.ts';
import type { Component } from '../core/lifecycle.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { type CloudCoreAddresses, CloudCores } from './cloudcores.ts';
import { NodeCertificates } from './node-certificates.ts';
import { CloudCoreLink, type LinkParts } from './upstream-link.ts';

const SWEEP_MS = 1_000;

export interface RelayOptions extends CloudCoreAddresses {
  /** How long a node may be without CloudCore before the gateway says that it is not ready, milliseconds. */
  readonly holdMs: number;
}

/** Stands, for each node, between its session and an unmodified CloudCore. */
export class CloudCoreRelay implements UpstreamRelay, Component {
  readonly name = 'relay';
  readonly #clock: Clock;
  readonly #metrics: Metrics;
  readonly #options: () => RelayOptions;
  readonly #cloudcores: CloudCores;
  readonly #parts: LinkParts;
  readonly #links = new Set<CloudCoreLink>();
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
      closed: (link) => this.#links.delete(link),
    };
    metrics.onScrape(() => this.#publish());
  }

  async start(): Promise<void> {
    this.#sweep = this.#clock.setInterval(() => {
      const now = this.#clock.monotonic();
      for (const link of this.#links) link.sweep(now);
    }, SWEEP_MS);
  }

  async stop(): Promise<void> {
    this.#sweep?.cancel();
    for (const link of [...this.#links]) link.close();
  }

  open(edge: RelayedEdge): UpstreamLink {
    const link = new CloudCoreLink(this.#parts, edge);
    this.#links.add(link);
    return link;
  }

  /** Why the gateway should get no new edges: nodes have been without CloudCore for too long. */
  problem(): string | undefined {
    const now = this.#clock.monotonic();
    const { holdMs } = this.#options();
    const lost = [...this.#links].filter((link) => link.lostMs(now) >= holdMs).length;
    return lost === 0 ? undefined : `${lost} of ${this.#links.size} nodes have no CloudCore`;
  }

  #publish(): void {
    const all = [...this.#links];
    for (const cloudcore of this.#cloudcores.list()) {
      const open = all.filter((link) => link.isOpen && link.cloudcore === cloudcore).length;
      this.#metrics.upstreamConnections.set({ cloudcore: cloudcore.address }, open);
    }
    this.#metrics.upstreamWaiting.set(all.filter((link) => !link.isOpen).length);
  }
}
