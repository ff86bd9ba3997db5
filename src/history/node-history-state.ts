import { createHash } from 'node:crypto';
import type { Secret, SecretStore } from '../contracts/secret-store.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import { SharedRecord } from '../core/shared-record.ts';
import { fitHistory, type HistoryRoom } from './history-room.ts';
import {
  decodeHistory,
  EMPTY_HISTORY,
  encodeHistory,
  HISTORY_FIELD,
  type HistoryState,
  NewerFormat,
} from './node-history-codec.ts';

/** Where a damaged history is kept, for whoever wants to know what happened. */
export const DAMAGED_FIELD = 'history.damaged';
/** What still fits beside a full history. */
export const MAX_DAMAGED_BYTES = 128 * 1024;

export interface HistoryStateComponents {
  readonly store: SecretStore;
  readonly clock: Clock;
  /** What is stored cannot be read; it is put aside with the next write. */
  readonly onDamaged: (problem: string) => void;
}

export interface HistoryStateOptions {
  readonly secret: string;
  /** What is there instead of one that is missing or cannot be read, and that nobody remembers. */
  readonly begin: (isDamaged: boolean) => Promise<HistoryState>;
}

export interface HistoryChange {
  /**
   * What is stored → what shall be. May be called again when another replica was faster; the very same when
   * there is nothing to write.
   */
  readonly change: (stored: HistoryState) => HistoryState;
  readonly room: HistoryRoom;
  /** Nodes without room are forgotten, or nothing is written and HistoryFull is thrown. */
  readonly whenFull: 'forget' | 'throw';
}

/** It does not fit, and there may be room elsewhere. */
export class HistoryFull extends Error {}

interface Stored {
  readonly state: HistoryState;
  /** It could not be read, so that it is written again whatever changes. */
  readonly isDamaged?: boolean;
  /** Fields to write. */
  readonly data?: Secret['data'];
  /** Nodes that had to go for want of room. */
  readonly dropped?: readonly string[];
}

/**
 * The Secret of the history, changed by compare-and-set. A history is worth little against a hub that works:
 * one that cannot be read is put aside in the same Secret and begun anew from what this replica knows. Only
 * one written by a newer version is left alone.
 */
export class NodeHistoryState {
  readonly #components: HistoryStateComponents;
  readonly #options: HistoryStateOptions;
  readonly #record: SharedRecord<Stored>;
  /** What was last read or written. A state is decoded once; it is the very same until it changes. */
  #known: { readonly version: string | undefined; readonly state: HistoryState; readonly bytes: number } = {
    version: undefined,
    state: EMPTY_HISTORY,
    bytes: 0,
  };

  constructor(components: HistoryStateComponents, options: HistoryStateOptions) {
    this.#components = components;
    this.#options = options;
    this.#record = new SharedRecord(components, {
      name: options.secret,
      codec: {
        decode: async (secret) => ({ value: await this.#decode(secret) }),
        encode: ({ data }, previous) => ({ ...previous, ...data }),
      },
    });
  }

  /** As it was last read or written. */
  get state(): HistoryState {
    return this.#known.state;
  }

  /** Size of it as it is stored. */
  get bytes(): number {
    return this.#known.bytes;
  }

  /** @throws SECRET_MALFORMED when a newer version wrote it, errors of the store */
  async read(): Promise<void> {
    await this.#record.read();
  }

  /**
   * @returns which nodes had to go for want of room
   * @throws what `change` throws, HistoryFull, SECRET_MALFORMED when a newer version wrote it, errors of the
   * store
   */
  async change({ change, room, whenFull }: HistoryChange): Promise<readonly string[]> {
    let written = 0;
    const { value, record, wrote } = await this.#record.change(async (stored) => {
      const next = change(stored.state);
      if (next === stored.state && !stored.isDamaged) return stored;
      const bytes = whenFull === 'throw' ? await encodeHistory(next) : undefined;
      if (bytes && bytes.length > room.maxBytes) throw new HistoryFull();
      const fitted = bytes ? { bytes, state: next, dropped: [] } : await fitHistory(next, room);
      written = fitted.bytes.length;
      return {
        state: fitted.state,
        dropped: fitted.dropped,
        data: { ...stored.data, [HISTORY_FIELD]: fitted.bytes },
      };
    });
    if (wrote) this.#known = { version: record?.version, state: value.state, bytes: written };
    return value.dropped ?? [];
  }

  async #decode(secret: Secret | undefined): Promise<Stored> {
    // One that vanished is written again from memory with the next change.
    if (!secret) return { state: await this.#remembered(false) };
    const { version } = secret;
    if (version !== undefined && this.#known.version === version) return { state: this.#known.state };
    const bytes = secret.data[HISTORY_FIELD];
    if (bytes === undefined) return { state: EMPTY_HISTORY };
    try {
      const state = await decodeHistory(bytes);
      this.#known = { version, state, bytes: bytes.length };
      return { state };
    } catch (error) {
      const problem = describeError(error);
      if (error instanceof NewerFormat)
        throw new SallyportError('SECRET_MALFORMED', { secret: this.#options.secret, problem }, error);
      const fits = bytes.length <= MAX_DAMAGED_BYTES;
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      this.#components.onDamaged(
        `${problem}; its ${bytes.length} bytes (SHA-256 ${sha256}) ${fits ? `are kept as ${DAMAGED_FIELD}` : 'are too many to be kept'}`,
      );
      const data = fits ? { data: { [DAMAGED_FIELD]: bytes } } : {};
      return { state: await this.#remembered(true), isDamaged: true, ...data };
    }
  }

  async #remembered(isDamaged: boolean): Promise<HistoryState> {
    if (this.#known.version === undefined)
      this.#known = { ...this.#known, state: await this.#options.begin(isDamaged) };
    return this.#known.state;
  }
}
