import { backoffDelayMs } from './backoff.ts';
import type { Clock } from './clock.ts';
import { isSallyportError, SallyportError } from './errors.ts';

/** A Secret as `SecretStore` has it; `core` knows nothing of contracts. */
export interface StoredRecord {
  readonly name: string;
  readonly type?: string;
  readonly data: Readonly<Record<string, Uint8Array>>;
  readonly version?: string;
}

/** The part of a `SecretStore` that is needed to change one Secret. */
export interface RecordStore {
  get(name: string, signal?: AbortSignal): Promise<StoredRecord | undefined>;
  create(record: StoredRecord, signal?: AbortSignal): Promise<StoredRecord>;
  replace(record: StoredRecord & { readonly version: string }, signal?: AbortSignal): Promise<StoredRecord>;
}

export interface Decoded<T> {
  readonly value: T;
  /** It has to be written even if nothing changes: what is stored is missing, damaged or out of date. */
  readonly mustWrite?: boolean;
}

/** How a value stands in its Secret. */
export interface RecordCodec<T> {
  /** @param record undefined when there is none @throws when it must be left as it is */
  decode(record: StoredRecord | undefined): Decoded<T> | Promise<Decoded<T>>;
  /** The whole content to store. @param previous the content it replaces */
  encode(value: T, previous: StoredRecord['data']): StoredRecord['data'];
}

export interface SharedRecordOptions<T> {
  /** Name of the Secret. */
  readonly name: string;
  readonly codec: RecordCodec<T>;
  /** Of a Secret that has to be created; `Opaque` by default. */
  readonly type?: string;
  /** Attempts in all. */
  readonly attempts?: number;
  /** Source of randomness in [0, 1), for tests. */
  readonly random?: () => number;
}

/** What is stored after a change. */
export interface Changed<T> {
  readonly value: T;
  readonly record: StoredRecord | undefined;
  /** Undefined when nothing was written; the record it replaced otherwise, if there was one. */
  readonly wrote?: { readonly replaced: StoredRecord | undefined };
}

export interface ChangeOptions {
  readonly signal?: AbortSignal | undefined;
  /** As it was read last: the first attempt begins with it, without a read. Out of date, it costs a race. */
  readonly known?: () => StoredRecord | undefined;
}

/**
 * A lost race means that somebody else won his, so this bounds writers, not load; with the pauses it is about
 * ten seconds.
 */
const ATTEMPTS = 40;
/** Longer than one write takes; long enough that the replicas of a large fleet do not meet again. */
const PAUSE = { minMs: 10, maxMs: 500 } as const;

/**
 * One Secret that several processes change: read, decode, change, encode, and create it or replace exactly
 * the version that was read; after a lost race once more from the beginning. Accesses of one instance wait
 * for each other, so that an old read never hides a newer write.
 */
export class SharedRecord<T> {
  readonly #store: RecordStore;
  readonly #clock: Clock;
  readonly #options: SharedRecordOptions<T>;
  /** The end of the queue of accesses. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor({ store, clock }: { store: RecordStore; clock: Clock }, options: SharedRecordOptions<T>) {
    this.#store = store;
    this.#clock = clock;
    this.#options = options;
  }

  /** As it is stored; writes nothing. @throws what the codec throws, errors of the store */
  read(signal?: AbortSignal): Promise<T> {
    return this.#exclusively(async () => {
      const { name, codec } = this.#options;
      return (await codec.decode(await this.#store.get(name, signal))).value;
    });
  }

  /**
   * Stores what `change` makes of the stored value; it is called again after each lost race. The very same
   * value means that there is nothing to write.
   * @throws SECRET_BUSY when every race was lost, what `change` and the codec throw, errors of the store, the
   * reason of the signal
   */
  change(
    change: (value: T, record: StoredRecord | undefined) => T | Promise<T>,
    { signal, known }: ChangeOptions = {},
  ): Promise<Changed<T>> {
    return this.#exclusively(async () => {
      const { name, codec, attempts = ATTEMPTS, random } = this.#options;
      for (let lost = 0; ; lost++) {
        signal?.throwIfAborted();
        const record = (lost === 0 && known?.()) || (await this.#store.get(name, signal));
        const { value, mustWrite = false } = await codec.decode(record);
        const next = await change(value, record);
        if (next === value && !mustWrite) return { value, record };
        try {
          const data = codec.encode(next, record?.data ?? {});
          return {
            value: next,
            record: await this.#write(record, data, signal),
            wrote: { replaced: record },
          };
        } catch (error) {
          if (!isSallyportError(error, 'SECRET_ALREADY_EXISTS', 'SECRET_CONFLICT', 'SECRET_NOT_FOUND'))
            throw error;
          if (lost + 1 >= attempts)
            throw new SallyportError('SECRET_BUSY', { secret: name, attempts }, error);
        }
        // Who lost once may try at once: the winner has written. Who loses again meets more than one.
        if (lost > 0)
          await this.#clock.sleep(backoffDelayMs(lost - 1, { ...PAUSE, ...(random && { random }) }), signal);
      }
    });
  }

  async #write(
    record: StoredRecord | undefined,
    data: StoredRecord['data'],
    signal: AbortSignal | undefined,
  ): Promise<StoredRecord> {
    const { name, type = 'Opaque' } = this.#options;
    if (!record) return await this.#store.create({ name, type, data }, signal);
    const { version } = record;
    if (version === undefined)
      throw new SallyportError('SECRET_MALFORMED', { secret: name, problem: 'it has no version' });
    return await this.#store.replace({ ...record, version, data }, signal);
  }

  #exclusively<R>(task: () => Promise<R>): Promise<R> {
    const run = this.#tail.then(task);
    this.#tail = run.catch(() => {});
    return run;
  }
}
