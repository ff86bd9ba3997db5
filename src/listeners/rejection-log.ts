import type {
  LocalRejections,
  Rejection,
  RejectionFacts,
  RejectionReport,
  RejectionSink,
} from '../contracts/rejections.ts';
import type { Clock } from '../core/clock.ts';
import type { PeerFacts } from '../protocol/peer-facts.ts';
import { fixOf } from '../protocol/rejection-reasons.ts';
import { sourceOf } from './https/rate-limiter.ts';

export interface RejectionLogOptions {
  /**
   * Entries about nodes that a trusted CA vouches for: half a fleet of the default limit, under 1 KB each.
   */
  readonly maxNodes: number;
  /** Entries about everybody else, which strangers can fill: apart, so that they push out no node. */
  readonly maxStrangers: number;
  /** What was not repeated for so long is forgotten, milliseconds. */
  readonly keepMs: number;
}

const REJECTION_LOG_DEFAULTS: RejectionLogOptions = {
  maxNodes: 10_000,
  maxStrangers: 1_000,
  keepMs: 7 * 24 * 3_600_000,
};

interface Entry {
  report: RejectionReport;
  count: number;
  readonly firstAt: number;
  lastAt: number;
}

/** Longest of each text that is kept. */
const MAX_TEXT = 400;

/**
 * Remembers whom the listeners of this replica refused: one entry for each node (or address, where nobody
 * vouches for a name), reason and listener. Bounded in number and size, whatever is thrown at it (requirement
 * I14): the least recently refused go first.
 */
export class RejectionLog implements RejectionSink, LocalRejections {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #options: RejectionLogOptions;
  /** Least recently refused first. */
  readonly #nodes = new Map<string, Entry>();
  readonly #strangers = new Map<string, Entry>();

  constructor({ clock }: { clock: Pick<Clock, 'now'> }, options: Partial<RejectionLogOptions> = {}) {
    this.#clock = clock;
    this.#options = { ...REJECTION_LOG_DEFAULTS, ...options };
  }

  record(report: RejectionReport): void {
    // A stranger who left by itself was not refused; a node that did may not have liked the hub's
    // certificate.
    if (report.reason === 'disconnected' && report.claimedNode === undefined) return;
    const { node, reason, listener, remoteAddress } = report;
    const [entries, limit, who] =
      node === undefined
        ? [this.#strangers, this.#options.maxStrangers, sourceOf(remoteAddress)]
        : [this.#nodes, this.#options.maxNodes, node];
    const key = `${listener} ${reason} ${who}`;
    const now = this.#clock.now();
    const known = entries.get(key);
    entries.delete(key);
    const fresh = known && now - known.lastAt < this.#options.keepMs ? known : undefined;
    entries.set(key, {
      report: bounded(report),
      count: (fresh?.count ?? 0) + 1,
      firstAt: fresh?.firstAt ?? now,
      lastAt: now,
    });
    if (entries.size > limit) entries.delete(entries.keys().next().value!);
  }

  list(): readonly Rejection[] {
    const since = this.#clock.now() - this.#options.keepMs;
    return [...this.#nodes.values(), ...this.#strangers.values()]
      .filter(({ lastAt }) => lastAt > since)
      .sort((a, b) => b.lastAt - a.lastAt)
      .map(describe);
  }
}

function bounded(report: RejectionReport): RejectionReport {
  const { claimedNode, detail, remoteAddress, facts } = report;
  return {
    ...report,
    claimedNode: claimedNode?.slice(0, MAX_TEXT),
    detail: detail.slice(0, MAX_TEXT),
    remoteAddress: remoteAddress.slice(0, MAX_TEXT),
    ...(facts?.presentedIssuer === undefined
      ? {}
      : { facts: { ...facts, presentedIssuer: facts.presentedIssuer.slice(0, MAX_TEXT) } }),
  };
}

function describe({ report, count, firstAt, lastAt }: Entry): Rejection {
  const { node, claimedNode, reason, listener, remoteAddress, detail, facts } = report;
  return {
    ...(node === undefined ? {} : { node }),
    ...(claimedNode === undefined || claimedNode === node ? {} : { claimedNode }),
    reason,
    listener,
    remoteAddress,
    count,
    firstAt: iso(firstAt)!,
    lastAt: iso(lastAt)!,
    detail,
    fix: fixOf(reason) ?? 'see docs/errors.md',
    ...(facts ? { facts: describeFacts(facts) } : {}),
  };
}

function describeFacts(facts: PeerFacts): RejectionFacts {
  const { hubTime, notBefore, notAfter, ...rest } = facts;
  const times = { hubTime: iso(hubTime), notBefore: iso(notBefore), notAfter: iso(notAfter) };
  return { ...rest, ...Object.fromEntries(Object.entries(times).filter(([, time]) => time !== undefined)) };
}

function iso(time: number | undefined): string | undefined {
  return time === undefined || Number.isNaN(new Date(time).getTime())
    ? undefined
    : new Date(time).toISOString();
}
