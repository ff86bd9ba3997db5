import type { ReplicaInfo } from '../contracts/node-ownership.ts';
import type {
  FleetRejection,
  LocalRejections,
  Rejection,
  RejectionDirectory,
  RejectionListing,
  RejectionWish,
} from '../contracts/rejections.ts';
import { type GatherParts, gather } from './gather.ts';

/**
 * Whom the whole fleet refused. Each replica remembers its own and is asked for it, so nothing has to be kept
 * twice; what comes back is bounded by what each may remember, and by the limit of the wish.
 */
export class FleetRejections implements RejectionDirectory {
  readonly #parts: GatherParts;
  readonly #local: LocalRejections;

  constructor(parts: GatherParts & { readonly local: LocalRejections }) {
    this.#parts = parts;
    this.#local = parts.local;
    parts.calls.serve('rejections', (payload) => this.#own(readWish(payload)));
  }

  async list(wish: RejectionWish, signal?: AbortSignal): Promise<RejectionListing> {
    const { items, unanswered } = await gather(this.#parts, 'rejections', {
      own: this.#own(wish),
      payload: wish,
      signal,
    });
    return { items: latest(items, wish), unanswered };
  }

  #own(wish: RejectionWish): FleetRejection[] {
    const { replica }: ReplicaInfo = this.#parts.ownership.self;
    return latest(this.#local.list().filter(matching(wish)), wish).map((one) => ({ ...one, replica }));
  }
}

const matching =
  ({ node, reason }: RejectionWish) =>
  (one: Rejection): boolean =>
    (node === undefined || one.node === node || one.claimedNode === node) &&
    (reason === undefined || one.reason === reason);

/** Strangers can fill a list at will, and must hide no node: where it is cut, they go first. */
function latest<T extends Rejection>(items: readonly T[], { limit }: RejectionWish): T[] {
  const sorted = items.toSorted((a, b) => b.lastAt.localeCompare(a.lastAt));
  if (sorted.length <= limit) return sorted;
  const [nodes, strangers] = [true, false].map((isNode) =>
    sorted.filter(({ node }) => (node !== undefined) === isNode),
  ) as [T[], T[]];
  const kept = new Set([...nodes, ...strangers].slice(0, limit));
  return sorted.filter((one) => kept.has(one));
}

/** What another replica asks: everybody on the bus could have sent it. */
function readWish(payload: unknown): RejectionWish {
  const { node, reason, limit } = (payload ?? {}) as Readonly<Record<string, unknown>>;
  return {
    ...(typeof node === 'string' ? { node } : {}),
    ...(typeof reason === 'string' ? { reason } : {}),
    limit: typeof limit === 'number' && limit >= 0 ? limit : 0,
  };
}
