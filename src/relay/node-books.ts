import type { Message } from '../protocol/message.ts';

/** Bounds of the books of one node. */
const MAX_FRAMES = 500;
const MAX_BYTES = 4 * 1024 * 1024;
/** EdgeCore waits so long for an answer (KubeEdge `edge/pkg/metamanager`), then it asks again by itself. */
export const QUESTION_MS = 60_000;

/** Who asks questions that CloudCore answers. EdgeCore never sets `sync`, so this follows from the source. */
const ASKING = new Set(['edged', 'metaserver', 'metamanager']);
/** Writes of which the newest is worth having, however old it is. */
const STATUS = /\/(?:node|nodepatch|nodestatus|podpatch|podstatus)\//;

export type Replayed = 'membership' | 'watch' | 'question' | 'status' | 'held';
export type Dropped = 'upstream-books-full' | 'upstream-unanswered';

interface Entry {
  readonly bytes: Uint8Array;
  readonly at: number;
  /** Names the object that a status is about; undefined for anything else. */
  readonly status: string | undefined;
  /** Whether a CloudCore may have it: it was sent on some connection. */
  sent: boolean;
}

interface Watch {
  readonly questionId: string;
  readonly bytes: Uint8Array;
  answered: boolean;
}

/**
 * What has to be said again when CloudCore has lost its memory of a node: questions without an answer, open
 * watches of the metaserver, the last question for the node's devices; and what waits while there is no
 * CloudCore. Bounded; what is left out is counted.
 */
export class NodeBooks {
  /** By message id, in the order they were asked. */
  readonly #questions = new Map<string, Entry>();
  /** By content.ID, in the order they were opened. */
  readonly #watches = new Map<string, Watch>();
  #membership: Uint8Array | undefined;
  #held: Uint8Array[] = [];
  #bytes = 0;
  readonly #onDropped: (reason: Dropped, count: number) => void;

  constructor({ onDropped }: { onDropped: (reason: Dropped, count: number) => void }) {
    this.#onDropped = onDropped;
  }

  get counts(): { questions: number; watches: number; held: number } {
    return { questions: this.#questions.size, watches: this.#watches.size, held: this.#held.length };
  }

  /** When the oldest question was asked that was sent and is still open; undefined without one. */
  get oldestQuestion(): number | undefined {
    for (const entry of this.#questions.values()) if (entry.sent) return entry.at;
    return undefined;
  }

  /**
   * Enters what the edge says.
   * @param isSent false when it has to wait for a CloudCore
   */
  enter(message: Message, bytes: Uint8Array, { now, isSent }: { now: number; isSent: boolean }): void {
    const { header, route } = message;
    const { source = '', operation = '', resource = '' } = route;
    const isQuestion = ASKING.has(source) && !header.parent_msg_id && !resource.includes('/event/');
    const isMembership = operation === 'get' && resource === 'membership/detail';
    if (!isQuestion && !isMembership && isSent) return;
    if (isMembership) {
      this.#setMembership(bytes);
      return;
    }
    if (source === 'metaserver') this.#watch(message, bytes);
    if (isQuestion) {
      const status = operation !== 'query' && STATUS.test(resource) ? `${operation} ${resource}` : undefined;
      this.#forget(header.msg_id);
      this.#questions.set(header.msg_id, { bytes, at: now, status, sent: isSent });
      this.#bytes += bytes.length;
    } else {
      this.#held.push(bytes);
      this.#bytes += bytes.length;
    }
    this.#bound();
  }

  /**
   * An answer came.
   * @returns how long it took, when it is the first; `again` when the edge has one already, because its watch
   * was opened anew; undefined for an answer to nothing we know
   */
  answered(questionId: string, now: number): { tookMs: number } | 'again' | undefined {
    const entry = this.#questions.get(questionId);
    const watch = this.#watches.size === 0 ? undefined : this.#watchOf(questionId);
    if (!entry) return watch?.answered ? 'again' : undefined;
    if (watch) watch.answered = true;
    this.#forget(questionId);
    return { tookMs: now - entry.at };
  }

  /**
   * Everything to say on a new connection, in this order: membership, watches, questions, then what was held.
   * It counts as sent.
   */
  replay(now: number): { kind: Replayed; bytes: Uint8Array }[] {
    this.prune(now);
    const again: { kind: Replayed; bytes: Uint8Array }[] = [];
    if (this.#membership) again.push({ kind: 'membership', bytes: this.#membership });
    const watched = new Set<string>();
    for (const { questionId, bytes } of this.#watches.values()) {
      watched.add(questionId);
      again.push({ kind: 'watch', bytes });
    }
    for (const [id, entry] of this.#questions) {
      entry.sent = true;
      if (!watched.has(id))
        again.push({ kind: isOld(entry, now) ? 'status' : 'question', bytes: entry.bytes });
      // Nobody waits for its answer any longer.
      if (isOld(entry, now)) this.#forget(id);
    }
    for (const bytes of this.#held) {
      this.#bytes -= bytes.length;
      again.push({ kind: 'held', bytes });
    }
    this.#held = [];
    return again;
  }

  /** Forgets questions that nobody waits for any longer; of those that tell a status, the newest stays. */
  prune(now: number): void {
    const newest = new Map<string, string>();
    for (const [id, { status }] of this.#questions) if (status !== undefined) newest.set(status, id);
    let dropped = 0;
    for (const [id, entry] of this.#questions) {
      if (!isOld(entry, now)) break;
      const isWaiting = !entry.sent && entry.status !== undefined && newest.get(entry.status) === id;
      if (isWaiting) continue;
      this.#forget(id);
      dropped++;
    }
    if (dropped > 0) this.#onDropped('upstream-unanswered', dropped);
  }

  /** What was sent on a connection that is lost has to be said again. */
  lost(): void {
    for (const entry of this.#questions.values()) entry.sent = false;
  }

  #setMembership(bytes: Uint8Array): void {
    this.#bytes += bytes.length - (this.#membership?.length ?? 0);
    this.#membership = bytes;
  }

  /** Its content is small, and rarely comes: a question of a local program, and who still watches. */
  #watch({ header, route, content }: Message, bytes: Uint8Array): void {
    if (typeof content !== 'object' || content === null) return;
    const asked = content as Readonly<Record<string, unknown>>;
    if (route.resource === 'watchapp/sync') {
      for (const id of this.#watches.keys()) if (!Object.hasOwn(asked, id)) this.#unwatch(id);
    } else if (asked.Verb === 'watch' && typeof asked.ID === 'string') {
      this.#unwatch(asked.ID);
      this.#watches.set(asked.ID, { questionId: header.msg_id, bytes, answered: false });
      this.#bytes += bytes.length;
    }
  }

  #watchOf(questionId: string): Watch | undefined {
    for (const watch of this.#watches.values()) if (watch.questionId === questionId) return watch;
    return undefined;
  }

  #unwatch(id: string): void {
    this.#bytes -= this.#watches.get(id)?.bytes.length ?? 0;
    this.#watches.delete(id);
  }

  #forget(id: string): void {
    this.#bytes -= this.#questions.get(id)?.bytes.length ?? 0;
    this.#questions.delete(id);
  }

  /** The oldest goes: first what waits, then questions, then watches. */
  #bound(): void {
    let dropped = 0;
    while (this.#frames > MAX_FRAMES || this.#bytes > MAX_BYTES) {
      const [held] = this.#held;
      const [question] = this.#questions.keys();
      const [watch] = this.#watches.keys();
      if (held) {
        this.#held.shift();
        this.#bytes -= held.length;
      } else if (question !== undefined) this.#forget(question);
      else if (watch !== undefined) this.#unwatch(watch);
      else break;
      dropped++;
    }
    if (dropped > 0) this.#onDropped('upstream-books-full', dropped);
  }

  get #frames(): number {
    return this.#held.length + this.#questions.size + this.#watches.size;
  }
}

function isOld({ at }: Entry, now: number): boolean {
  return now - at >= QUESTION_MS;
}
