import { randomBytes } from 'node:crypto';
import type { Secret, SecretStore } from '../../contracts/secret-store.ts';
import type { Clock } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import { type Decoded, SharedRecord } from '../../core/shared-record.ts';
import {
  decodeTokenState,
  encodeTokenState,
  KEY_BYTES,
  MAX_ENTRIES,
  type TokenStateData,
} from './token-state-codec.ts';

export interface TokenStateOptions {
  /** Name of the Secret. */
  readonly secret: string;
  /**
   * Decisions are never based on a state older than this; half of what E8 allows by default, milliseconds.
   */
  readonly maxAgeMs?: number;
}

export type ReadonlyTokenState = Readonly<
  Omit<TokenStateData, 'usedTokens' | 'renewedCertificates'> & {
    usedTokens: ReadonlyMap<string, number>;
    renewedCertificates: ReadonlyMap<string, number>;
  }
>;
type Change<T> = (draft: TokenStateData) => T;

interface Pending {
  readonly apply: (draft: TokenStateData) => boolean;
  readonly settle: (failure?: unknown) => void;
}

/**
 * The one Secret in which replicas agree about tokens: key, revocations, what was used. Every change is a
 * compare-and-set, so of any number of replicas exactly one uses up a token; changes that wait at the same
 * time share one write.
 */
export class TokenState {
  readonly #clock: Clock;
  readonly #record: SharedRecord<TokenStateData>;
  readonly #maxAgeMs: number;
  #known: { readonly state: TokenStateData; readonly secret: Secret } | undefined;
  #readAt = Number.NEGATIVE_INFINITY;
  #pending: Pending[] = [];
  #reading: Promise<void> | undefined;

  constructor(
    { store, clock }: { store: SecretStore; clock: Clock },
    { secret, maxAgeMs = 5_000 }: TokenStateOptions,
  ) {
    this.#clock = clock;
    this.#record = new SharedRecord(
      { store, clock },
      {
        name: secret,
        codec: {
          decode: (stored) => this.#decode(stored),
          encode: encodeTokenState,
        },
      },
    );
    this.#maxAgeMs = maxAgeMs;
  }

  /**
   * The state, read again when what is known is older than `maxAgeMs`; created when there is none. That fails
   * rather than answer from an old state: a revocation made elsewhere must hold here (E8).
   * @throws SECRET_STORE_UNAVAILABLE and the other errors of the store, SECRET_MALFORMED, SECRET_KEY_MISSING
   */
  async current(maxAgeMs = this.#maxAgeMs): Promise<ReadonlyTokenState> {
    const ageMs = this.#clock.monotonic() - this.#readAt;
    if (!this.#known || ageMs >= maxAgeMs) {
      this.#reading ??= this.#access((state) => state).finally(() => {
        this.#reading = undefined;
      });
      await this.#reading;
    }
    return this.#known!.state;
  }

  /**
   * As it was last read, however long ago; undefined before. For checks that must not cost an access to the
   * store.
   */
  get lastKnown(): ReadonlyTokenState | undefined {
    return this.#known?.state;
  }

  /**
   * @throws TOKEN_USED, TOKEN_REVOKED when minted before the last revocation, TOKEN_STATE_FULL, errors of the
   * store
   */
  async useToken({ id, epoch, expiresAt }: { id: string; epoch: number; expiresAt: number }): Promise<void> {
    await this.#change((draft) => {
      if (draft.usedTokens.has(id)) throw new SallyportError('TOKEN_USED');
      if (epoch < draft.epoch) throw new SallyportError('TOKEN_REVOKED');
      remember(draft, 'usedTokens', { id, end: expiresAt });
    });
  }

  /**
   * @throws GRACE_USED when the certificate was renewed after its end already (F1 "once"), TOKEN_STATE_FULL,
   * errors of the store
   */
  async useGrace(certificate: string, until: number): Promise<void> {
    await this.#change((draft) => {
      if (draft.renewedCertificates.has(certificate)) throw new SallyportError('GRACE_USED');
      remember(draft, 'renewedCertificates', { id: certificate, end: until });
    });
  }

  /** Every token minted until now is refused from now on. */
  async revokeAll(): Promise<void> {
    await this.#change((draft) => {
      draft.epoch++;
      draft.revokedAt = this.#clock.now();
    });
  }

  #change<T>(change: Change<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      let result: T;
      this.#pending.push({
        apply: (draft) => {
          try {
            result = change(draft);
            return true;
          } catch (error) {
            reject(error);
            return false;
          }
        },
        settle: (failure) => (failure === undefined ? resolve(result) : reject(failure)),
      });
      if (this.#pending.length === 1) void this.#flush();
    });
  }

  /**
   * Writes all waiting changes at once, and again on what another replica wrote when it was faster. Never
   * rejects.
   */
  async #flush(): Promise<void> {
    let batch: Pending[] | undefined;
    try {
      await this.#access(
        (state) => {
          batch ??= this.#pending.splice(0);
          const draft = this.#draft(state);
          batch = batch.filter((pending) => pending.apply(draft));
          return batch.length === 0 ? state : draft;
        },
        () => this.#known?.secret,
      );
      for (const pending of batch ?? []) pending.settle();
    } catch (error) {
      for (const pending of batch ?? this.#pending.splice(0)) pending.settle(error);
    }
  }

  /** @param known the Secret to begin with, instead of a read */
  async #access(
    change: (state: TokenStateData) => TokenStateData,
    known?: () => Secret | undefined,
  ): Promise<void> {
    let trueAt = this.#clock.monotonic();
    const { value, record, wrote } = await this.#record.change(
      (state) => {
        const next = change(state);
        if (next !== state) trueAt = this.#clock.monotonic();
        return next;
      },
      known ? { known } : {},
    );
    if (!wrote && record === this.#known?.secret) return; // nothing was read
    this.#known = { state: value, secret: { ...record! } };
    this.#readAt = trueAt;
  }

  /** When the Secret vanished under a running hub, key and used tokens come back from memory. */
  #decode(secret: Secret | undefined): Decoded<TokenStateData> {
    const known = this.#known;
    if (secret) {
      const isKnown = known && secret.version !== undefined && known.secret.version === secret.version;
      return { value: isKnown ? known.state : decodeTokenState(secret) };
    }
    const fresh = () => ({
      key: randomBytes(KEY_BYTES),
      epoch: 0,
      revokedAt: 0,
      usedTokens: new Map<string, number>(),
      renewedCertificates: new Map<string, number>(),
    });
    return { value: known?.state ?? fresh(), mustWrite: true };
  }

  /**
   * A copy without what has ended: an expired token is refused for that, so its use need not be remembered.
   */
  #draft(state: TokenStateData): TokenStateData {
    const now = this.#clock.now();
    const alive = (times: ReadonlyMap<string, number>) =>
      new Map([...times].filter(([, end]) => end + CLOCK_TOLERANCE_MS > now));
    return {
      ...state,
      usedTokens: alive(state.usedTokens),
      renewedCertificates: alive(state.renewedCertificates),
    };
  }
}

/**
 * A replica whose clock is behind may still accept what this one thinks has ended; so it is remembered a
 * while longer.
 */
const CLOCK_TOLERANCE_MS = 10 * 60_000;

function remember(
  draft: TokenStateData,
  kind: keyof typeof MAX_ENTRIES,
  { id, end }: { id: string; end: number },
): void {
  const limit = MAX_ENTRIES[kind];
  if (draft[kind].size >= limit) throw new SallyportError('TOKEN_STATE_FULL', { limit });
  draft[kind].set(id, end);
}
