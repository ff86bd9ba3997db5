import { isDeepStrictEqual } from 'node:util';
import type { SecretStore } from '../contracts/secret-store.ts';
import type { Clock } from '../core/clock.ts';
import { latest, mergeNews, unite, withRun } from './history-merge.ts';
import { type HistoryRoom, mergeLost } from './history-room.ts';
import { HistoryStrays, type Moves, placeOf } from './history-strays.ts';
import type { KnownNode } from './known-node.ts';
import { EMPTY_HISTORY, type HistoryState, type LostNodes } from './node-history-codec.ts';
import { HistoryFull, NodeHistoryState } from './node-history-state.ts';

export interface HistoryShardsComponents {
  readonly store: SecretStore;
  readonly clock: Clock;
  /** A Secret cannot be read; it is put aside with the next write. */
  readonly onDamaged: (secret: string, problem: string) => void;
  /** Who is missing when a Secret is lost that nobody remembers. */
  readonly lostByDamage: () => LostNodes;
}

export interface HistoryShardsOptions {
  /** Name of the first Secret. */
  readonly secret: string;
  /** How many further ones there may be. */
  readonly maxShards: number;
}

export interface HistoryNews {
  readonly nodes: ReadonlyMap<string, KnownNode>;
  /** Forgotten on purpose, with the moment of it. */
  readonly forgotten?: ReadonlyMap<string, number>;
  /** A replica's run whose sessions are still open; it is stored in the first Secret. */
  readonly run?: { readonly id: string; readonly at: number };
}

/** For the number of shards and the runs of replicas in a first Secret that is full, bytes. */
const SPARE_BYTES = 8 * 1024;

/** The names of the Secrets that a history may use: all that a Role has to grant. */
export function historySecretNames(first: string, maxShards: number): string[] {
  return [first, ...Array.from({ length: maxShards }, (_, i) => `${first}-${i + 1}`)];
}

/** The first Secret was full of nodes when the shards began, and has to keep them until they have moved. */
function withSpare(room: HistoryRoom): HistoryRoom {
  return { ...room, maxBytes: room.maxBytes + SPARE_BYTES };
}

/**
 * The history over several Secrets. All nodes are in the first one until it is full. From then on each node
 * has its place by the hash of its name, in one of `shards` further Secrets, and the first one says how many
 * there are. A node that is found in another place is news for its own; it leaves the other only once its own
 * has it. So each step is one write of one Secret, any replica may do it, and a kill between two of them
 * costs nothing. Putting together what replicas know does not depend on the order, so a node that is stored
 * twice is no harm.
 */
export class HistoryShards {
  readonly #components: HistoryShardsComponents;
  readonly #options: HistoryShardsOptions;
  readonly #places: NodeHistoryState[] = [];
  readonly #damaged = new Set<number>();
  readonly #strays = new HistoryStrays();
  #seen: readonly HistoryState[] = [];
  #nodes: ReadonlyMap<string, KnownNode> = EMPTY_HISTORY.nodes;
  #forgotten: ReadonlyMap<string, number> = EMPTY_HISTORY.forgotten;
  #moves: Moves = { incoming: new Map(), leaving: new Map() };

  constructor(components: HistoryShardsComponents, options: HistoryShardsOptions) {
    this.#components = components;
    this.#options = options;
  }

  // — what is known, as it was last read or written —

  /** Every node, of all places. */
  get nodes(): ReadonlyMap<string, KnownNode> {
    return this.#nodes;
  }

  get runs(): ReadonlyMap<string, number> {
    return this.#place(0).state.runs;
  }

  get lost(): LostNodes | undefined {
    return this.#seen.map(({ lost }) => lost).reduce(mergeLost, undefined);
  }

  /** Places in use: the first, and the shards. There may be more than are configured now. */
  get count(): number {
    return 1 + this.#place(0).state.shards;
  }

  /** Bytes that the place takes as it is stored. */
  bytesOf(place: number): number {
    return this.#place(place).bytes;
  }

  /** Where the node is to be stored. */
  homeOf(node: string): number {
    return placeOf(node, this.count - 1);
  }

  /** It holds what is to be put aside or belongs elsewhere, or is to take what is elsewhere. */
  isUntidy(place: number): boolean {
    const { incoming, leaving } = this.#moves;
    return this.#damaged.has(place) || incoming.has(place) || leaving.has(place);
  }

  // — reading and writing —

  /** @throws SECRET_MALFORMED when a newer version wrote it, errors of the store */
  async read(place: number): Promise<void> {
    await this.#place(place).read();
    this.#look();
  }

  /**
   * Stores what is new, and what belongs here and is elsewhere. @returns which nodes had to be forgotten for
   * want of room; undefined when there are more places now, so that the news has to be stored again
   * @throws SECRET_MALFORMED when a newer version wrote it, errors of the store
   */
  async write(
    place: number,
    { news, room }: { news: HistoryNews; room: HistoryRoom },
  ): Promise<readonly string[] | undefined> {
    const mayGrow = this.count - 1 < this.#options.maxShards;
    try {
      return await this.#place(place).change({
        change: (stored) => {
          const nodes = [...(this.#moves.incoming.get(place) ?? []), ...news.nodes];
          const gone = this.#moves.leaving.get(place) ?? [];
          const next = mergeNews(stored, { ...news, nodes, gone, elsewhere: this.#forgotten }, room.now);
          return place === 0 && news.run ? { ...next, runs: withRun(next.runs, news.run) } : next;
        },
        room: place === 0 && this.count > 1 ? withSpare(room) : room,
        whenFull: mayGrow ? 'throw' : 'forget',
      });
    } catch (error) {
      if (!(error instanceof HistoryFull)) throw error;
      await this.#grow(room);
      return undefined;
    } finally {
      this.#damaged.delete(place);
      this.#look();
    }
  }

  /**
   * From now on the nodes belong to all the Secrets there may be; those that are stored stay where they are
   * until their new place has them.
   */
  async #grow(room: HistoryRoom): Promise<void> {
    const { maxShards } = this.#options;
    await this.#place(0).change({
      change: (stored) => (stored.shards >= maxShards ? stored : { ...stored, shards: maxShards }),
      room: withSpare(room),
      whenFull: 'forget',
    });
  }

  #place(place: number): NodeHistoryState {
    const { onDamaged, lostByDamage } = this.#components;
    const { secret: first, maxShards } = this.#options;
    const secret = place === 0 ? first : `${first}-${place}`;
    this.#places[place] ??= new NodeHistoryState(
      {
        ...this.#components,
        onDamaged: (problem) => {
          this.#damaged.add(place);
          onDamaged(secret, problem);
        },
      },
      {
        secret,
        begin: async (isDamaged) => ({
          ...EMPTY_HISTORY,
          // That there are shards was said in the first; where there are, every one has nodes.
          shards: place === 0 && maxShards > 0 && (await this.#holdsNodes(1)) ? maxShards : 0,
          ...(isDamaged ? { lost: lostByDamage() } : {}),
        }),
      },
    );
    return this.#places[place];
  }

  async #holdsNodes(place: number): Promise<boolean> {
    await this.#place(place).read();
    return this.#place(place).state.nodes.size > 0;
  }

  /** Puts the places together, when one has changed. */
  #look(): void {
    const states = Array.from({ length: this.count }, (_, place) => this.#place(place).state);
    if (states.length === this.#seen.length && states.every((one, i) => one === this.#seen[i])) return;
    this.#seen = states;
    const forgotten = latest(states.flatMap((one) => [...one.forgotten]));
    if (!isDeepStrictEqual(forgotten, this.#forgotten)) this.#forgotten = forgotten;
    this.#nodes = states.length === 1 ? states[0]!.nodes : unite(states, this.#forgotten);
    this.#moves = this.#strays.find(states, this.#forgotten);
  }
}
