import { createHash } from 'node:crypto';
import type { Secret, SecretStore } from '../contracts/secret-store.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import { SharedRecord } from '../core/shared-record.ts';
import {
  decodeHistory,
  EMPTY_HISTORY,
  encodeHistory,
  HISTORY_FIELD,
  type HistoryState,
  MAX_HISTORY_BYTES,
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
  /** Bytes of a full history. */
  readonly maxBytes?: number;
}

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
  readonly #secret: string;
  readonly #record: SharedRecord<Stored>;
  readonly #maxBytes: number;
  /** What is stored as it was read or written last; not read again while the version is the same. */
  #known: { readonly version: string | undefined; readonly state: HistoryState } | undefined;

  constructor(components: HistoryStateComponents, options: HistoryStateOptions) {
    this.#components = components;
    this.#secret = options.secret;
    this.#maxBytes = options.maxBytes ?? MAX_HISTORY_BYTES;
    this.#record = new SharedRecord(components, {
      name: options.secret,
      codec: {
        decode: async (secret) => ({ value: await this.#decode(secret) }),
        encode: ({ data }, previous) => ({ ...previous, ...data }),
      },
    });
  }

  /** @throws SECRET_MALFORMED when a newer version wrote it, errors of the store */
  async read(): Promise<HistoryState> {
    return (await this.#record.read()).state;
  }

  /**
   * Changes what is stored; `change` may be called again when another replica was faster.
   * @returns what is stored now, and which nodes had to go for want of room
   * @throws what `change` throws, SECRET_MALFORMED when a newer version wrote it, errors of the store
   */
  async change(
    change: (stored: HistoryState) => HistoryState,
  ): Promise<{ state: HistoryState; dropped: readonly string[] }> {
    const { value, record, wrote } = await this.#record.change(async (stored) => {
      const next = change(stored.state);
      if (next === stored.state && !stored.isDamaged) return stored;
      const { bytes, kept, dropped } = await encodeHistory(next, this.#maxBytes);
      return { state: kept, dropped, data: { ...stored.data, [HISTORY_FIELD]: bytes } };
    });
    if (wrote) this.#known = { version: record?.version, state: value.state };
    return { state: value.state, dropped: value.dropped ?? [] };
  }

  async #decode(secret: Secret | undefined): Promise<Stored> {
    // One that vanished is written again from memory with the next change.
    if (!secret) return { state: this.#known?.state ?? EMPTY_HISTORY };
    if (this.#known && secret.version !== undefined && this.#known.version === secret.version)
      return { state: this.#known.state };
    const bytes = secret.data[HISTORY_FIELD];
    if (bytes === undefined) return { state: EMPTY_HISTORY };
    try {
      const state = await decodeHistory(bytes);
      this.#known = { version: secret.version, state };
      return { state };
    } catch (error) {
      const problem = describeError(error);
      if (error instanceof NewerFormat)
        throw new SallyportError('SECRET_MALFORMED', { secret: this.#secret, problem }, error);
      const fits = bytes.length <= MAX_DAMAGED_BYTES;
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      this.#components.onDamaged(
        `${problem}; its ${bytes.length} bytes (SHA-256 ${sha256}) ${fits ? `are kept as ${DAMAGED_FIELD}` : 'are too many to be kept'}`,
      );
      const data = fits ? { data: { [DAMAGED_FIELD]: bytes } } : {};
      return { state: this.#known?.state ?? EMPTY_HISTORY, isDamaged: true, ...data };
    }
  }
}
