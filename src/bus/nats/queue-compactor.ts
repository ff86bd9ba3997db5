import type { DeliveryOutcome, DownstreamItem } from '../../contracts/message-bus.ts';
import type { Clock } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import type { MessageDeleter } from './message-deleter.ts';
import type { MessageRemover } from './message-remover.ts';
import { HEADER, objectDigest } from './nats-messages.ts';
import type { PubAck } from './stream-publisher.ts';
import type { StreamReader } from './stream-reader.ts';
import type { Subjects } from './subjects.ts';

interface CompactorParts {
  readonly reader: StreamReader;
  readonly deleter: MessageDeleter;
  readonly remover: MessageRemover;
  readonly clock: Clock;
  readonly tell: (to: { node: string; outcomeTo: string | undefined }, outcome: DeliveryOutcome) => void;
}

/** A queue that was found full of different objects is not searched again for so long, milliseconds. */
const REMEMBER_MS = 1_000;
const REMEMBERED = 256;

/**
 * Makes room in the full queue of a node, by taking out versions of objects that newer ones replaced. Those
 * were put there by several replicas, or by programs that publish themselves; what one replica replaced
 * itself is gone already.
 */
export class QueueCompactor {
  readonly #parts: CompactorParts;
  readonly #subjects: Subjects;
  /** Node → the objects its full queue holds, once each. */
  readonly #full = new Map<string, { readonly until: number; readonly objects: ReadonlySet<string> }>();

  constructor(parts: CompactorParts, { subjects }: { subjects: Subjects }) {
    this.#parts = parts;
    this.#subjects = subjects;
  }

  /**
   * Calls `publish` again when there is room. @throws QUEUE_FULL when there is none, and what `publish`
   * throws
   */
  async makeRoom(item: DownstreamItem, publish: () => Promise<PubAck>): Promise<PubAck> {
    const { node } = item;
    const object = objectDigest(item);
    const full = this.#full.get(node);
    if (full && full.until > this.#parts.clock.monotonic() && !full.objects.has(object ?? ''))
      throw new SallyportError('QUEUE_FULL', { queue: 'of this node' });
    const { newest, older } = await this.#survey(node);
    if (older.length > 0) {
      await Promise.all(older.map((one) => this.#takeOut(node, one)));
      return publish();
    }
    const replaced = object === undefined ? undefined : newest.get(object);
    this.#remember(node, new Set(newest.keys()));
    if (!replaced) throw new SallyportError('QUEUE_FULL', { queue: 'of this node' });
    // Its own older version is the only thing that may go. It is gone for a moment before the newer is there:
    // who sends hears of a failure.
    await this.#takeOut(node, replaced);
    return publish();
  }

  async #survey(node: string): Promise<{ newest: Map<string, Stored>; older: Stored[] }> {
    const newest = new Map<string, Stored>();
    const older: Stored[] = [];
    const { downStream: stream } = this.#subjects;
    const range = { stream, subject: this.#subjects.down(node), fromSeq: 1, headersOnly: true };
    for await (const { seq, headers } of this.#parts.reader.read(range)) {
      const object = headers?.get(HEADER.object);
      if (!object || this.#parts.remover.has(seq)) continue;
      const before = newest.get(object);
      if (before) older.push(before);
      newest.set(object, { seq, outcomeTo: headers?.get(HEADER.outcomeTo) || undefined });
    }
    return { newest, older };
  }

  async #takeOut(node: string, { seq, outcomeTo }: Stored): Promise<void> {
    await this.#parts.deleter.remove(seq);
    this.#parts.tell({ node, outcomeTo }, { kind: 'superseded' });
  }

  #remember(node: string, objects: ReadonlySet<string>): void {
    this.#full.delete(node);
    this.#full.set(node, { until: this.#parts.clock.monotonic() + REMEMBER_MS, objects });
    if (this.#full.size > REMEMBERED) this.#full.delete(this.#full.keys().next().value!);
  }
}

interface Stored {
  readonly seq: number;
  readonly outcomeTo: string | undefined;
}
