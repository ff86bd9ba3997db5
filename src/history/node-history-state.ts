import { createHash } from 'node:crypto';
import type { Secret, SecretStore } from '../contracts/secret-store.ts';
import { describeError, isSallyportError, SallyportError } from '../core/errors.ts';
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
/** Each lost race means that another replica won its own. */
const MAX_ATTEMPTS = 10;

export interface HistoryStateComponents {
  readonly store: SecretStore;
  /** What is stored cannot be read; it is put aside with the next write. */
  readonly onDamaged: (problem: string) => void;
}

export interface HistoryStateOptions {
  readonly secret: string;
  /** Bytes of a full history. */
  readonly maxBytes?: number;
}

interface Stored {
  readonly secret: Secret | undefined;
  readonly state: HistoryState;
  /** It could not be read, so that it is written again whatever changes. */
  readonly isDamaged?: boolean;
  readonly aside?: Secret['data'];
}

/**
 * The Secret of the history, changed by compare-and-set. A history is worth little against a hub that works:
 * one that cannot be read is put aside in the same Secret and begun anew from what this replica knows. Only
 * one written by a newer version is left alone.
 */
export class NodeHistoryState {
  readonly #components: HistoryStateComponents;
  readonly #secret: string;
  readonly #maxBytes: number;
  /** What is stored as it was read or written last; not read again while the version is the same. */
  #known: { readonly version: string | undefined; readonly state: HistoryState } | undefined;
  /** One access at a time. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor(components: HistoryStateComponents, options: HistoryStateOptions) {
    this.#components = components;
    this.#secret = options.secret;
    this.#maxBytes = options.maxBytes ?? MAX_HISTORY_BYTES;
  }

  /** @throws SECRET_MALFORMED when a newer version wrote it, errors of the store */
  read(): Promise<HistoryState> {
    return this.#exclusively(async () => (await this.#read()).state);
  }

  /**
   * Changes what is stored; `change` may be called again when another replica was faster.
   * @returns what is stored now, and which nodes had to go for want of room
   * @throws what `change` throws, SECRET_MALFORMED when a newer version wrote it, errors of the store
   */
  change(
    change: (stored: HistoryState) => HistoryState,
  ): Promise<{ state: HistoryState; dropped: readonly string[] }> {
    return this.#exclusively(async () => {
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const { secret, state, isDamaged = false, aside } = await this.#read();
        const next = change(state);
        if (next === state && !isDamaged) return { state, dropped: [] };
        const { bytes, kept, dropped } = await encodeHistory(next, this.#maxBytes);
        const written = await this.#tryWrite(secret, {
          ...secret?.data,
          ...aside,
          [HISTORY_FIELD]: bytes,
        });
        if (!written) continue;
        this.#known = { version: written.version, state: kept };
        return { state: kept, dropped };
      }
      throw new SallyportError('SECRET_STORE_UNAVAILABLE', {
        problem: `secret ${this.#secret} changes too often`,
      });
    });
  }

  async #read(): Promise<Stored> {
    const secret = await this.#components.store.get(this.#secret);
    // One that vanished is written again from memory with the next change.
    if (!secret) return { secret, state: this.#known?.state ?? EMPTY_HISTORY };
    if (this.#known && secret.version !== undefined && this.#known.version === secret.version)
      return { secret, state: this.#known.state };
    const bytes = secret.data[HISTORY_FIELD];
    if (bytes === undefined) return { secret, state: EMPTY_HISTORY };
    try {
      const state = await decodeHistory(bytes);
      this.#known = { version: secret.version, state };
      return { secret, state };
    } catch (error) {
      const problem = describeError(error);
      if (error instanceof NewerFormat)
        throw new SallyportError('SECRET_MALFORMED', { secret: this.#secret, problem }, error);
      const fits = bytes.length <= MAX_DAMAGED_BYTES;
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      this.#components.onDamaged(
        `${problem}; its ${bytes.length} bytes (SHA-256 ${sha256}) ${fits ? `are kept as ${DAMAGED_FIELD}` : 'are too many to be kept'}`,
      );
      const aside = fits ? { aside: { [DAMAGED_FIELD]: bytes } } : {};
      return { secret, state: this.#known?.state ?? EMPTY_HISTORY, isDamaged: true, ...aside };
    }
  }

  /** Undefined when the Secret is not what was read any more. */
  async #tryWrite(secret: Secret | undefined, data: Secret['data']): Promise<Secret | undefined> {
    const { store } = this.#components;
    try {
      if (secret?.version === undefined)
        return await store.create({ name: this.#secret, type: 'Opaque', data });
      return await store.replace({ ...secret, version: secret.version, data });
    } catch (error) {
      if (isSallyportError(error, 'SECRET_CONFLICT', 'SECRET_NOT_FOUND', 'SECRET_ALREADY_EXISTS'))
        return undefined;
      throw error;
    }
  }

  #exclusively<T>(task: () => Promise<T>): Promise<T> {
    const run = this.#tail.then(task);
    this.#tail = run.catch(() => {});
    return run;
  }
}
