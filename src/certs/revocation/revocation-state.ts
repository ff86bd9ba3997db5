import type { Secret, SecretStore } from '../../contracts/secret-store.ts';
import type { Clock } from '../../core/clock.ts';
import { isSallyportError, SallyportError } from '../../core/errors.ts';
import { decodeRevocations, encodeRevocations, LIST_FIELD } from './revocation-codec.ts';
import { RevocationList } from './revocation-list.ts';
import { decodeReceipts, encodeReceipts, RECEIPTS_FIELD, type Receipts } from './revocation-receipts.ts';

/** What replicas have to agree about, and what they told each other. */
export interface SharedRevocations {
  readonly list: RevocationList;
  readonly receipts: Receipts;
}

/** Each lost race means that another replica won its own, so this bounds replicas, not load. */
const MAX_ATTEMPTS = 50;

/**
 * The Secret of the revocations, changed by compare-and-set alone. A list never goes backwards while a
 * replica lives that knows better: a Secret that vanished, or came back from a backup with an older version,
 * is written again from memory. A damaged one is left alone.
 */
export class RevocationState {
  readonly #store: SecretStore;
  readonly #clock: Clock;
  readonly #secret: string;
  #known: SharedRevocations | undefined;
  /** The bytes of the known list: what did not change is not decoded again, and stays the very same list. */
  #knownBytes: Uint8Array | undefined;
  /** The end of the queue of accesses: one at a time, so that an old read never hides a newer write. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor({ store, clock }: { store: SecretStore; clock: Clock }, { secret }: { secret: string }) {
    this.#store = store;
    this.#clock = clock;
    this.#secret = secret;
  }

  /** @throws SECRET_MALFORMED, SECRET_KEY_MISSING, errors of the store */
  read(): Promise<SharedRevocations> {
    return this.#exclusively(async () => (await this.#read()).shared);
  }

  /**
   * Changes what is stored; `change` may be called again when another replica was faster. What equals the
   * stored is not written.
   * @throws what `change` throws, REVOCATIONS_FULL, SECRET_MALFORMED, SECRET_KEY_MISSING, errors of the store
   */
  change(change: (stored: SharedRevocations) => SharedRevocations): Promise<SharedRevocations> {
    return this.#exclusively(async () => {
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const { shared, secret } = await this.#read();
        const next = change(shared);
        if (next.list === shared.list && next.receipts === shared.receipts) return shared;
        const written = await this.#tryWrite(next, secret);
        if (written) return next;
      }
      throw new SallyportError('SECRET_STORE_UNAVAILABLE', {
        problem: `secret ${this.#secret} changes too often`,
      });
    });
  }

  async #read(): Promise<{ shared: SharedRevocations; secret: Secret & { readonly version: string } }> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const secret = await this.#readOrCreate();
      if (!secret) continue;
      const known = this.#known;
      const bytes = secret.data[LIST_FIELD];
      const isSame = known && bytes && this.#knownBytes && Buffer.compare(bytes, this.#knownBytes) === 0;
      const list = isSame ? known.list : decodeRevocations(secret);
      const shared = { list, receipts: decodeReceipts(secret) };
      if (!known || shared.list.version >= known.list.version) {
        this.#known = shared;
        this.#knownBytes = bytes;
        return { shared, secret };
      }
      await this.#tryWrite({ list: known.list, receipts: shared.receipts }, secret);
    }
    throw new SallyportError('SECRET_STORE_UNAVAILABLE', {
      problem: `secret ${this.#secret} changes too often`,
    });
  }

  /** Create-only; undefined when it vanished in between. */
  async #readOrCreate(): Promise<(Secret & { readonly version: string }) | undefined> {
    const present = await this.#store.get(this.#secret);
    if (present) return versioned(present);
    const shared = this.#known ?? { list: RevocationList.EMPTY, receipts: new Map() };
    try {
      return versioned(
        await this.#store.create({ name: this.#secret, type: 'Opaque', data: this.#encode(shared) }),
      );
    } catch (error) {
      if (isSallyportError(error, 'SECRET_ALREADY_EXISTS')) return undefined;
      throw error;
    }
  }

  /** False when the Secret is not what was read any more. */
  async #tryWrite(next: SharedRevocations, secret: Secret & { readonly version: string }): Promise<boolean> {
    const data = { ...secret.data, ...this.#encode(next) };
    try {
      await this.#store.replace({ ...secret, data });
      this.#known = next;
      this.#knownBytes = data[LIST_FIELD];
      return true;
    } catch (error) {
      if (isSallyportError(error, 'SECRET_CONFLICT', 'SECRET_NOT_FOUND')) return false;
      throw error;
    }
  }

  #encode({ list, receipts }: SharedRevocations): Secret['data'] {
    return {
      [LIST_FIELD]: encodeRevocations(list),
      [RECEIPTS_FIELD]: encodeReceipts(receipts, this.#clock.now()),
    };
  }

  #exclusively<T>(task: () => Promise<T>): Promise<T> {
    const run = this.#tail.then(task);
    this.#tail = run.catch(() => {});
    return run;
  }
}

function versioned(secret: Secret): Secret & { readonly version: string } {
  if (secret.version === undefined)
    throw new SallyportError('SECRET_MALFORMED', { secret: secret.name, problem: 'it has no version' });
  return { ...secret, version: secret.version };
}
