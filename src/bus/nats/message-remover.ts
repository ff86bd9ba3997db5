import type { Clock, Timer } from '../../core/clock.ts';
import type { MessageDeleter } from './message-deleter.ts';

const PARALLEL = 256;
const RETRY_MS = 500;
/**
 * What is settled within this is removed together, milliseconds: one write and one answer to read instead of
 * one a message, here and at the server.
 */
const GATHER_MS = 5;

/**
 * Takes settled messages out of a stream, some together. What cannot be removed now stays on the list and is
 * tried again; until then {@link has} tells that it must not be delivered again.
 */
export class MessageRemover {
  readonly #deleter: MessageDeleter;
  readonly #clock: Clock;
  /** Sequences to remove; with the answer that is awaited while NATS is asked. */
  readonly #waiting = new Map<number, Promise<void> | undefined>();
  #underWay = 0;
  /** Until the next ones are removed. */
  #timer: Timer | undefined;
  #whenEmpty: (() => void)[] = [];
  #stopped = false;

  constructor({ deleter, clock }: { deleter: MessageDeleter; clock: Clock }) {
    this.#deleter = deleter;
    this.#clock = clock;
  }

  has(seq: number): boolean {
    return this.#waiting.has(seq);
  }

  get size(): number {
    return this.#waiting.size;
  }

  remove(seq: number): void {
    if (this.#waiting.has(seq)) return;
    this.#waiting.set(seq, this.#stopped ? this.#removeOne(seq) : undefined);
    if (!this.#stopped) this.#timer ??= this.#clock.setTimeout(() => this.flush(), GATHER_MS);
  }

  /** Removes what waits at once: another replica may look at the messages of a node now. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#next();
  }

  /** Removes what waits now, and resolves when NATS has answered for each. */
  async finish(): Promise<void> {
    this.flush();
    await Promise.all(this.#waiting.values());
  }

  /** The stream is another one. */
  forget(): void {
    this.#waiting.clear();
  }

  /** Gives up waiting when the signal says so: what is left is delivered once more. */
  async stop(signal: AbortSignal): Promise<void> {
    this.flush();
    if (this.#waiting.size > 0 && !signal.aborted)
      await new Promise<void>((resolve) => {
        this.#whenEmpty.push(resolve);
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #removeOne(seq: number): Promise<void> {
    this.#underWay++;
    const removed = await this.#deleter.remove(seq).then(
      () => true,
      () => false,
    );
    this.#underWay--;
    if (removed) {
      this.#waiting.delete(seq);
      this.#next();
    } else if (this.#waiting.has(seq)) {
      this.#waiting.set(seq, undefined);
      if (!this.#stopped) this.#timer ??= this.#clock.setTimeout(() => this.flush(), RETRY_MS);
    }
  }

  #next(): void {
    if (this.#waiting.size === 0) for (const resolve of this.#whenEmpty.splice(0)) resolve();
    if (this.#stopped || this.#timer || this.#waiting.size === this.#underWay) return;
    for (const [seq, asked] of this.#waiting) {
      if (this.#underWay >= PARALLEL) return;
      if (!asked) this.#waiting.set(seq, this.#removeOne(seq));
    }
  }
}
