import type { KV, KvEntry, KvWatchEntry } from '@nats-io/kv';
import type { NatsConnection as Connection, QueuedIterator } from '@nats-io/transport-node';
import type {
  Claim,
  ClaimHolder,
  ClaimRequest,
  NodeOwner,
  NodeOwnership,
  ReplicaInfo,
} from '../contracts/node-ownership.ts';
import { backoffDelayMs } from '../core/backoff.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import type { Component } from '../core/lifecycle.ts';
import type { Logger } from '../core/log.ts';
import type { Unsubscribe } from '../core/property.ts';
import { isConflict, openBucket } from '../nats/nats-bucket.ts';
import type { NatsConnection } from '../nats/nats-connection.ts';
import { KnownOwners } from './known-owners.ts';
import { NatsClaim } from './nats-claim.ts';
import type { NatsReplicas } from './nats-replicas.ts';
import { decodeOwner, encodeOwner } from './ownership-entry.ts';
import { Turnstile } from './turnstile.ts';

export interface NatsOwnershipOptions {
  readonly prefix: string;
  /** Copies JetStream keeps. */
  readonly copies: number;
  readonly requestTimeoutMs: number;
  /** Changes between replicas that follow each other within this count as one series (G4), milliseconds. */
  readonly flapWindowMs: number;
}

/** Reads and writes under way at once, so that 20,000 nodes that come together do not time each other out. */
const CONCURRENT = 256;
const RETRY = { minMs: 50, maxMs: 2_000 } as const;

/** What this replica knows and wants of a node. */
interface Slot {
  readonly node: string;
  wanted: NatsClaim | undefined;
  /** The entry of ours that stands, as far as is known. */
  mine: { readonly revision: number } | undefined;
  /** A write of ours has had no answer: what stands has to be read. */
  uncertain: boolean;
  /** Newest entry of another replica that was seen. */
  foreign: NodeOwner | undefined;
  /** Whom a write of ours takes the node from, until its answer is there. */
  previous: NodeOwner | undefined;
  working: boolean;
}

/**
 * Ownership in a key-value bucket: one entry a node, written by compare-and-set when its owner changes,
 * removed when its session ends, never touched in between. The epoch is the revision of the entry, which
 * grows with each write and survives removals. Every replica watches the stream of changes and remembers only
 * its own nodes, so a take-over is heard at once and costs no replica the memory of the fleet.
 */
export class NatsOwnership implements NodeOwnership, Component {
  readonly name = 'ownership';
  readonly #replicas: NatsReplicas;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #options: () => NatsOwnershipOptions;
  readonly #slots = new Map<string, Slot>();
  readonly #known = new KnownOwners({ ask: (node) => this.#askOwner(node) });
  readonly #turnstile: Turnstile;
  readonly #offs: Unsubscribe[] = [];
  #kv: KV | undefined;
  #watch: QueuedIterator<KvWatchEntry> | undefined;
  /** Everything up to this revision has been seen; 0 when nothing has. */
  #seenTo = 0;
  #attempt = 0;
  #isSure = false;
  #problem: string | undefined;
  #stopped = false;
  #idle: (() => void) | undefined;

  constructor(
    parts: { connection: NatsConnection; replicas: NatsReplicas; clock: Clock; log: Logger },
    options: () => NatsOwnershipOptions,
  ) {
    this.#replicas = parts.replicas;
    this.#clock = parts.clock;
    this.#log = parts.log;
    this.#options = options;
    this.#turnstile = new Turnstile(CONCURRENT, (begin) => parts.connection.atTurnEnd(begin));
  }

  get self(): ReplicaInfo {
    return this.#replicas.self;
  }

  async start(): Promise<void> {
    this.#offs.push(
      this.#replicas.onSure((connection) => void this.#begin(connection)),
      this.#replicas.onUnsure(() => this.#loseSight()),
    );
  }

  /** Waits until what was released is given up, or `signal` fires. */
  async stop(signal: AbortSignal): Promise<void> {
    this.#stopped = true;
    if (this.#isSure && this.#slots.size > 0 && !signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    for (const off of this.#offs) off();
    this.#attempt++;
    this.#isSure = false;
    this.#watch?.stop();
  }

  problem(): string | undefined {
    if (this.#isSure) return undefined;
    return this.#replicas.problem() ?? this.#problem ?? 'the owners of the nodes are being read';
  }

  replicas(): readonly ReplicaInfo[] {
    return this.#replicas.list();
  }

  claim(request: ClaimRequest, holder: ClaimHolder): Claim {
    const slot = this.#slotOf(request.node);
    slot.wanted?.replace();
    const claim = new NatsClaim(request, holder, (released) => this.#release(slot, released));
    slot.wanted = claim;
    if (this.#isSure) void this.#work(slot);
    else claim.suspend();
    return claim;
  }

  async owner(node: string): Promise<NodeOwner | undefined> {
    return this.#ownOwner(node) ?? this.#ifAlive(await this.#askOwner(node));
  }

  async lastKnownOwner(node: string): Promise<NodeOwner | undefined> {
    return this.#ownOwner(node) ?? this.#ifAlive(await this.#known.of(node));
  }

  #ownOwner(node: string): NodeOwner | undefined {
    const wanted = this.#slots.get(node)?.wanted;
    return wanted?.state === 'held' ? this.#asOwner(wanted) : undefined;
  }

  async #askOwner(node: string): Promise<NodeOwner | undefined> {
    const entry = await this.#bucket((kv) => kv.get(node));
    return entry ? this.#ownerIn(entry)?.owner : undefined;
  }

  /** An entry of ours that is no longer held is on its way to be removed. */
  #ifAlive(owner: NodeOwner | undefined): NodeOwner | undefined {
    if (!owner || !this.#replicas.isAlive(owner.run) || owner.run === this.self.run) return undefined;
    return owner;
  }

  /**
   * Takes the entries of replicas that are gone out of the bucket. @returns whom they were of; each is told
   * to exactly one replica
   */
  async *abandoned(): AsyncGenerator<{ readonly node: string; readonly owner: NodeOwner }> {
    const kv = this.#kv;
    if (!kv || !this.#isSure) return;
    const { streamInfo } = await kv.status();
    if (streamInfo.state.messages === 0) return;
    for await (const entry of await kv.watch()) {
      const owner =
        entry.operation === 'PUT' ? decodeOwner(entry.string(), entry.revision)?.owner : undefined;
      if (owner && !this.#replicas.isAlive(owner.run) && this.#isSure) {
        const node = entry.key;
        const removed = await kv.delete(node, { previousSeq: entry.revision }).then(
          () => true,
          () => false,
        );
        if (removed) yield { node, owner };
      }
      if (entry.delta === 0 || !this.#isSure) return;
    }
  }

  // — coming and going of the fleet —

  async #begin(connection: Connection): Promise<void> {
    const attempt = ++this.#attempt;
    const isOld = () => attempt !== this.#attempt;
    for (let tries = 0; !isOld(); tries++) {
      try {
        const { prefix, copies, requestTimeoutMs } = this.#options();
        const { kv, status } = await openBucket(connection, {
          bucket: `${prefix}-nodes`,
          replicas: copies,
          requestTimeoutMs,
        });
        const last = status.streamInfo.state.last_seq;
        if (isOld()) return;
        this.#kv = kv;
        if (last < this.#seenTo) this.#forgetAll();
        await this.#follow(kv, { last, isOld });
      } catch (error) {
        if (isOld()) return;
        this.#problem = describeError(error);
        this.#log.warn({ problem: this.#problem }, 'cannot follow the owners of the nodes; trying again');
        await this.#clock.sleep(backoffDelayMs(tries, RETRY));
      }
    }
  }

  /** Hears first what has changed while nobody listened, and is sure of the claims that are left after it. */
  async #follow(kv: KV, { last, isOld }: { last: number; isOld: () => boolean }): Promise<void> {
    // Without claims there is nothing to catch up with.
    if (this.#slots.size === 0) this.#seenTo = Math.max(this.#seenTo, last);
    const watch = await kv.watch({ resumeFromRevision: this.#seenTo + 1 });
    if (isOld()) return watch.stop();
    this.#watch?.stop();
    this.#watch = watch;
    // What was not heard before the watch began would be believed for ever.
    this.#known.clear();
    if (this.#seenTo >= last) this.#becomeSure();
    for await (const entry of watch) {
      if (isOld()) return watch.stop();
      this.#hear(entry);
      if (this.#seenTo >= last) this.#becomeSure();
    }
    if (!isOld()) throw new SallyportError('BUS_UNAVAILABLE', { problem: 'the watch of the nodes ended' });
  }

  #becomeSure(): void {
    if (this.#isSure) return;
    this.#isSure = true;
    this.#problem = undefined;
    for (const slot of [...this.#slots.values()]) {
      const { wanted, mine } = slot;
      if (wanted && mine && wanted.epoch === mine.revision) wanted.resume();
      else void this.#work(slot);
    }
  }

  #loseSight(): void {
    this.#attempt++;
    this.#isSure = false;
    this.#known.clear();
    this.#watch?.stop();
    this.#watch = undefined;
    for (const slot of [...this.#slots.values()]) slot.wanted?.suspend();
    this.#idle?.();
  }

  /** The bucket was lost, with everything in it: every claim has to be made anew. */
  #forgetAll(): void {
    this.#log.warn({ nodes: this.#slots.size }, 'NATS has lost the owners of the nodes; claiming ours anew');
    this.#seenTo = 0;
    for (const slot of this.#slots.values()) {
      slot.mine = undefined;
      slot.uncertain = false;
      slot.foreign = undefined;
    }
  }

  // — what others wrote —

  #hear(entry: KvWatchEntry): void {
    const { key: node, revision } = entry;
    this.#seenTo = Math.max(this.#seenTo, revision);
    this.#known.changed(node);
    const slot = this.#slots.get(node);
    if (!slot || revision <= (slot.mine?.revision ?? 0)) return;
    if (entry.operation !== 'PUT') this.#removed(slot);
    else {
      const owner = decodeOwner(entry.string(), revision)?.owner;
      if (owner && owner.run !== this.self.run) this.#takenBy(slot, owner);
    }
  }

  #takenBy(slot: Slot, owner: NodeOwner): void {
    slot.foreign = owner;
    slot.mine = undefined;
    const { wanted } = slot;
    // A claim under way learns from its own answer whether it came before or after.
    if (wanted?.epoch === undefined || wanted.epoch > owner.epoch) return;
    this.#drop(slot, wanted, owner);
  }

  /** Somebody believed us dead and cleared up behind us. */
  #removed(slot: Slot): void {
    const { wanted, mine } = slot;
    if (!mine || wanted?.epoch !== mine.revision) return;
    slot.mine = undefined;
    wanted.late = true;
    if (this.#isSure) void this.#work(slot);
  }

  #drop(slot: Slot, claim: NatsClaim, owner: NodeOwner): void {
    if (slot.wanted === claim) slot.wanted = undefined;
    this.#tidy(slot);
    claim.lose(owner);
  }

  // — what we write —

  #release(slot: Slot, claim: NatsClaim): void {
    if (slot.wanted !== claim) return;
    slot.wanted = undefined;
    // A newer session of the same node may follow in this turn, and then only the owner changes.
    setImmediate(() => {
      if (this.#isSure) void this.#work(slot);
      else this.#tidy(slot);
    });
  }

  /** Brings the entry in line with what is wanted. One at a time a node. */
  async #work(slot: Slot): Promise<void> {
    if (slot.working) return;
    slot.working = true;
    for (let tries = 0; this.#isSure; ) {
      const { wanted, mine } = slot;
      const isHeld = wanted?.epoch !== undefined && wanted.epoch === mine?.revision;
      if (wanted ? isHeld : !mine && !slot.uncertain) break;
      try {
        if (wanted) await this.#take(slot, wanted);
        else await this.#giveUp(slot);
        tries = 0;
      } catch (error) {
        // Written or not, by us or another: what stands has to be read.
        slot.mine = undefined;
        if (isConflict(error)) {
          slot.previous = undefined;
          continue;
        }
        slot.uncertain = true;
        slot.wanted?.suspend();
        this.#log.debug({ node: slot.node, problem: describeError(error) }, 'a claim was not written');
        await this.#clock.sleep(backoffDelayMs(tries++, RETRY));
      }
    }
    slot.working = false;
    this.#tidy(slot);
  }

  async #take(slot: Slot, wanted: NatsClaim): Promise<void> {
    const { node } = slot;
    const known = slot.mine;
    const entry = known ? undefined : await this.#read(slot);
    if (slot.wanted !== wanted) return;
    const found = entry ? this.#ownerIn(entry) : undefined;
    if (found?.owner.run === this.self.run && found.owner.sessionId === wanted.sessionId) {
      // A write whose answer was lost.
      this.#tell(slot, wanted, found);
      return;
    }
    const previous = found && found.owner.run !== this.self.run ? found.owner : undefined;
    const isAlive = previous !== undefined && this.#replicas.isAlive(previous.run);
    if (previous && isAlive && wanted.late && previous.at > wanted.request.since) {
      this.#drop(slot, wanted, previous);
      return;
    }
    const now = this.#clock.now();
    const inSeries = found !== undefined && now - found.changedAt < this.#options().flapWindowMs;
    const changes = isAlive ? (inSeries ? found!.changes : 0) + 1 : inSeries ? found!.changes : 0;
    const changedAt = isAlive ? now : (found?.changedAt ?? 0);
    const text = encodeOwner(wanted.request, this.self, { changes, changedAt });
    const previousSeq = known?.revision ?? entry?.revision ?? 0;
    slot.previous = previous;
    const epoch = await this.#bucket((kv) => kv.put(node, text, { previousSeq }));
    slot.mine = { revision: epoch };
    this.#tell(slot, wanted, { owner: { epoch }, changes });
  }

  /** Our entry stands, or stood until another one replaced it. */
  #tell(
    slot: Slot,
    claim: NatsClaim,
    { owner: { epoch }, changes }: { owner: { readonly epoch: number }; changes: number },
  ): void {
    const { previous, foreign } = slot;
    slot.previous = undefined;
    slot.foreign = undefined;
    if (previous) claim.took(previous, changes);
    if (foreign && foreign.epoch > epoch) {
      // Heard before the answer to our own write.
      slot.mine = undefined;
      this.#drop(slot, claim, foreign);
      return;
    }
    // An answer that comes when nothing is certain any longer waits for the next look.
    if (!this.#isSure || slot.wanted !== claim) return;
    claim.late = false;
    claim.hold(epoch);
  }

  /** @returns what stands; an entry of ours is noted */
  async #read(slot: Slot): Promise<KvEntry | null> {
    const entry = await this.#bucket((kv) => kv.get(slot.node));
    const owner = entry ? this.#ownerIn(entry)?.owner : undefined;
    slot.uncertain = false;
    if (owner?.run === this.self.run) slot.mine = { revision: owner.epoch };
    return entry;
  }

  async #giveUp(slot: Slot): Promise<void> {
    if (slot.uncertain) await this.#read(slot);
    const { node, mine } = slot;
    if (!mine) return;
    await this.#bucket((kv) => kv.delete(node, { previousSeq: mine.revision })).catch((error) => {
      // Somebody else has it: a release with an old epoch changes nothing.
      if (!isConflict(error)) throw error;
    });
    if (slot.mine === mine) slot.mine = undefined;
  }

  // — little things —

  /** Undefined for an entry that was removed. */
  #ownerIn(entry: KvEntry) {
    if (entry.operation !== 'PUT') return undefined;
    return decodeOwner(entry.string(), entry.revision);
  }

  #asOwner({ request, epoch }: NatsClaim): NodeOwner {
    const { sessionId, transport, since } = request;
    return { ...this.self, sessionId, transport, epoch: epoch!, at: since };
  }

  async #bucket<T>(action: (kv: KV) => Promise<T>): Promise<T> {
    return this.#turnstile.pass(() => {
      if (!this.#isSure || !this.#kv)
        throw new SallyportError('BUS_UNAVAILABLE', { problem: this.problem() });
      return action(this.#kv);
    });
  }

  #slotOf(node: string): Slot {
    let slot = this.#slots.get(node);
    if (!slot) {
      slot = {
        node,
        wanted: undefined,
        mine: undefined,
        uncertain: false,
        foreign: undefined,
        previous: undefined,
        working: false,
      };
      this.#slots.set(node, slot);
    }
    return slot;
  }

  #tidy(slot: Slot): void {
    if (slot.wanted || slot.mine || slot.uncertain || slot.working || this.#slots.get(slot.node) !== slot)
      return;
    this.#slots.delete(slot.node);
    if (this.#slots.size === 0 && this.#stopped) this.#idle?.();
  }
}
