import { X509Certificate } from 'node:crypto';
import { isSallyportError, SallyportError } from '../../../../src/core/errors.ts';
import { MemorySecretStore } from '../../../fakes/memory-secret-store.ts';
import { ecKeys } from '../../pki/csr.ts';
import { whileAdvancing } from '../../while-advancing.ts';
import { PATTERNS } from './absence-patterns.ts';
import { CoarseClock } from './coarse-clock.ts';
import { type Outcome, SimulatedNode } from './simulated-node.ts';
import { DAY_MS, HOUR_MS, type SimulatedReplica, startReplica } from './simulated-replica.ts';

const STEP_MS = 6 * HOUR_MS;

/** A fleet on two replicas that share a store; time goes on by steps of six hours. */
export class SimulatedFleet implements AsyncDisposable {
  readonly clock: CoarseClock;
  readonly startedAt: number;
  readonly nodes: readonly SimulatedNode[];
  readonly outcomes = new Map<Outcome, number>();
  /** Online nodes whose certificate stopped being accepted, with the reason. */
  readonly thrownOut: string[] = [];
  replicas: readonly SimulatedReplica[] = [];
  readonly #store = new MemorySecretStore();
  readonly #stores: MemorySecretStore[] = [];
  readonly #random: () => number;
  readonly #home = new Map<string, SimulatedReplica>();
  /** Until they come the next time. */
  readonly #gaveUp = new Set<SimulatedNode>();
  #outage = false;
  #trustChanged = false;

  private constructor({ nodes, seed }: { nodes: number; seed: number }) {
    this.#random = mulberry32(seed);
    this.startedAt = Date.UTC(2026, 0, 1);
    this.clock = new CoarseClock(this.startedAt);
    this.nodes = PATTERNS.flatMap((pattern) =>
      Array.from({ length: Math.round((pattern.share * nodes) / 1000) }, (_, index) => {
        const name = `${pattern.name.replaceAll(' ', '-')}-${index}`;
        return new SimulatedNode(
          { name, pattern, sdk: index % 2 === 0 },
          { keys: ecKeys(), random: this.#random, now: this.startedAt },
        );
      }),
    );
  }

  static async start(options: { nodes: number; seed: number }): Promise<SimulatedFleet> {
    const fleet = new SimulatedFleet(options);
    fleet.replicas = [await fleet.#startReplica('a'), await fleet.#startReplica('b')];
    return fleet;
  }

  get day(): number {
    return (this.clock.now() - this.startedAt) / DAY_MS;
  }

  /** While true the API answers nobody, and tells of no change. */
  set outage(outage: boolean) {
    if (this.#outage === outage) return;
    this.#outage = outage;
    for (const store of this.#stores) {
      store.watchDead = outage;
      store.fault = () => {
        if (outage) throw new SallyportError('SECRET_STORE_UNAVAILABLE', { problem: 'simulated outage' });
      };
      if (!outage) store.resync();
    }
  }

  async step(): Promise<void> {
    await this.clock.step(STEP_MS);
    this.#recheck();
    const now = this.clock.now();
    for (const node of this.nodes) {
      if (now >= node.changesAt) this.#toggle(node, now);
      if (!node.online || this.#gaveUp.has(node)) continue;
      if (!this.#home.has(node.name) || node.isDue(now)) await this.during(this.#contact(node, now));
    }
  }

  /** Who lost a race for a Secret waits for the clock before the next try, and nobody else moves it. */
  during<T>(work: Promise<T>): Promise<T> {
    return whileAdvancing(this.clock, work);
  }

  count(outcome: Outcome): number {
    return this.outcomes.get(outcome) ?? 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.outage = false;
    for (const replica of this.replicas) await replica[Symbol.asyncDispose]();
  }

  async #startReplica(name: string): Promise<SimulatedReplica> {
    const store = this.#store.connect();
    this.#stores.push(store);
    const replica = await startReplica(name, {
      store,
      clock: this.clock,
      random: this.#random,
      isConnected: (node) => this.#home.has(node),
      ask: (issuerSha256) => this.#ask(issuerSha256, name),
    });
    const recheck = () => {
      this.#trustChanged = true;
    };
    replica.certificates.onChange(recheck);
    replica.revocations.onChange(recheck);
    return replica;
  }

  #ask(issuerSha256: string, replica: string): number {
    const issuer = this.replicas
      .flatMap(({ certificates }) => certificates.current().clientCAs)
      .find(({ sha256 }) => sha256 === issuerSha256);
    if (!issuer) return 0;
    const x509 = new X509Certificate(issuer.der);
    return this.nodes.filter((node) => this.#home.get(node.name)?.replica === replica && node.ask(x509))
      .length;
  }

  /** As `SessionHub.applyTrust`: whoever would not be let in now is shown out. */
  #recheck(): void {
    if (!this.#trustChanged) return;
    this.#trustChanged = false;
    for (const node of this.nodes) {
      const hub = this.#home.get(node.name);
      if (!hub) continue;
      const verdict = node.verdict(hub);
      if (verdict.ok) continue;
      this.#leave(node, hub);
      if (verdict.reason !== 'revoked') this.thrownOut.push(`${node.name}: ${verdict.detail}`);
    }
  }

  #toggle(node: SimulatedNode, now: number): void {
    const { stay, away } = node.pattern;
    node.online = !node.online;
    this.#gaveUp.delete(node);
    node.changesAt = now + (node.online ? stay(this.#random) : away(this.#random));
    const hub = this.#home.get(node.name);
    if (!node.online && hub) this.#leave(node, hub);
  }

  async #contact(node: SimulatedNode, now: number): Promise<void> {
    const hub = this.#home.get(node.name) ?? this.replicas[this.#random() < 0.5 ? 0 : 1]!;
    if (!node.hasJoined) {
      const token = await hub.tokens.createNodeToken(node.name).catch(refusedByOutage);
      if (!token) return;
      const joined = await node.join(hub, token.token).then(() => true, refusedByOutage);
      if (!joined) return;
    }
    const outcome = await node.contact(hub, now);
    this.outcomes.set(outcome, this.count(outcome) + 1);
    if (outcome === 'in' || outcome === 'renewed') this.#home.set(node.name, hub);
    if (outcome === 'late' || outcome === 'revoked') this.#gaveUp.add(node);
  }

  #leave(node: SimulatedNode, hub: SimulatedReplica): void {
    hub.history.nodeDisconnected(node.name);
    this.#home.delete(node.name);
  }
}

/** What an outage may do; anything else is a failure of the simulation. */
function refusedByOutage(error: unknown): undefined {
  if (!isSallyportError(error, 'SECRET_STORE_UNAVAILABLE')) throw error;
}

/** The same fleet every time. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
