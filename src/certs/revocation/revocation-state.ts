import type { Secret, SecretStore } from '../../contracts/secret-store.ts';
import type { Clock } from '../../core/clock.ts';
import { type Decoded, SharedRecord } from '../../core/shared-record.ts';
import { decodeRevocations, encodeRevocations, LIST_FIELD } from './revocation-codec.ts';
import { RevocationList } from './revocation-list.ts';

/** Where replicas of 0.1 keep their receipts. */
const RECEIPTS_FIELD = 'receipts.json';

/** What replicas have to agree about, and the receipts of those of 0.1, as they are stored. */
export interface SharedRevocations {
  readonly list: RevocationList;
  readonly receipts: Uint8Array | undefined;
}

/**
 * The Secret of the revocations, changed by compare-and-set alone. A list never goes backwards while a
 * replica lives that knows better: a Secret that vanished, or came back from a backup with an older version,
 * is written again from memory. A damaged one is left alone.
 */
export class RevocationState {
  readonly #record: SharedRecord<SharedRevocations>;
  #known: SharedRevocations | undefined;
  /** The bytes of the known list: what did not change is not decoded again, and stays the very same list. */
  #knownBytes: Uint8Array | undefined;

  constructor({ store, clock }: { store: SecretStore; clock: Clock }, { secret }: { secret: string }) {
    this.#record = new SharedRecord(
      { store, clock },
      {
        name: secret,
        codec: {
          decode: (stored) => this.#decode(stored),
          encode: ({ list, receipts }, previous) => ({
            ...previous,
            [LIST_FIELD]: encodeRevocations(list),
            ...(receipts ? { [RECEIPTS_FIELD]: receipts } : {}),
          }),
        },
      },
    );
  }

  /** Creates it when there is none. @throws SECRET_MALFORMED, SECRET_KEY_MISSING, errors of the store */
  read(): Promise<SharedRevocations> {
    return this.change((stored) => stored);
  }

  /**
   * Changes what is stored; `change` may be called again when another replica was faster. What equals the
   * stored is not written.
   * @throws what `change` throws, REVOCATIONS_FULL, SECRET_MALFORMED, SECRET_KEY_MISSING, errors of the store
   */
  async change(change: (stored: SharedRevocations) => SharedRevocations): Promise<SharedRevocations> {
    const { value, record, wrote } = await this.#record.change((stored) => {
      const next = change(stored);
      return next.list === stored.list && next.receipts === stored.receipts ? stored : next;
    });
    if (wrote) this.#remember(value, record);
    return value;
  }

  #decode(secret: Secret | undefined): Decoded<SharedRevocations> {
    const known = this.#known;
    if (!secret)
      return { value: known ?? { list: RevocationList.EMPTY, receipts: undefined }, mustWrite: true };
    const bytes = secret.data[LIST_FIELD];
    const isSame = known && bytes && this.#knownBytes && Buffer.compare(bytes, this.#knownBytes) === 0;
    const value = {
      list: isSame ? known.list : decodeRevocations(secret),
      receipts: secret.data[RECEIPTS_FIELD],
    };
    if (known && value.list.version < known.list.version)
      return { value: { ...value, list: known.list }, mustWrite: true };
    this.#remember(value, secret);
    return { value };
  }

  #remember(shared: SharedRevocations, secret: Secret | undefined): void {
    this.#known = shared;
    this.#knownBytes = secret?.data[LIST_FIELD];
  }
}
