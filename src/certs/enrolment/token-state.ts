import { randomBytes } from 'node:crypto';
import type { Secret, SecretStore } from '../../contracts/secret-store.ts';
import type { Clock } from '../../core/clock.ts';
import { isSallyportError, SallyportError } from '../../core/errors.ts';
import { decodeTokenState, encodeTokenState, KEY_BYTES, type TokenStateData } from './token-state-codec.ts';

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
type Versioned = Secret & { readonly version: string };

interface Pending {
  readonly apply: (draft: TokenStateData) => boolean;
  readonly settle: (failure?: unknown) => void;
}

/**
 * Of each kind: with 31 bytes an entry (16 characters, a time, punctuation) both stay under the 1 MiB that
 * Kubernetes grants a Secret.
 */
const MAX_ENTRIES = 15_000;
/** Each lost race means that another replica won its own, so this bounds replicas, not load. */
const MAX_ATTEMPTS = 50;

/**
 * The one Secret in which replicas agree about tokens: key, revocations, what was used. Every change is a
 * compare-and-set, so of any number of replicas exactly one uses up a token; changes that wait at the same
 * time share one write.
 */
export class TokenState {
  readonly #store: SecretStore;
  readonly #clock: Clock;
  readonly #secret: string;
  readonly #maxAgeMs: number;
  #known: { readonly state: TokenStateData; readonly secret: Versioned } | undefined;
  #readAt = Number.NEGATIVE_INFINITY;
  #pending: Pending[] = [];
  /** The end of the queue of accesses: one at a time, so that an old read never hides a newer write. */
  #tail: Promise<unknown> = Promise.resolve();
  #reading: Promise<void> | undefined;

  constructor(
    { store, clock }: { store: SecretStore; clock: Clock },
    { secret, maxAgeMs = 5_000 }: TokenStateOptions,
  ) {
    this.#store = store;
    this.#clock = clock;
    this.#secret = secret;
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
      this.#reading ??= this.#exclusively(() => this.#read()).finally(() => {
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
      remember(draft.usedTokens, id, expiresAt);
    });
  }

  /**
   * @throws GRACE_USED when the certificate was renewed after its end already (F1 "once"), TOKEN_STATE_FULL,
   * errors of the store
   */
  async useGrace(certificate: string, until: number): Promise<void> {
    await this.#change((draft) => {
      if (draft.renewedCertificates.has(certificate)) throw new SallyportError('GRACE_USED');
      remember(draft.renewedCertificates, certificate, until);
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
      if (this.#pending.length === 1) void this.#exclusively(() => this.#flush());
    });
  }

  /**
   * Writes all waiting changes at once, and again on what another replica wrote when it was faster. Never
   * rejects.
   */
  async #flush(): Promise<void> {
    let batch = this.#pending;
    this.#pending = [];
    try {
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        if (!this.#known || attempt > 0) await this.#read();
        const { state, secret } = this.#known!;
        const draft = this.#draft(state);
        batch = batch.filter((pending) => pending.apply(draft));
        if (batch.length === 0) return;
        if (!(await this.#tryWrite(draft, secret))) continue;
        for (const pending of batch) pending.settle();
        return;
      }
      throw new SallyportError('SECRET_STORE_UNAVAILABLE', {
        problem: `secret ${this.#secret} changes too often`,
      });
    } catch (error) {
      for (const pending of batch) pending.settle(error);
    }
  }

  /** False when the Secret is not what was read any more. */
  async #tryWrite(draft: TokenStateData, secret: Versioned): Promise<boolean> {
    const startedAt = this.#clock.monotonic();
    try {
      const written = await this.#store.replace({ ...secret, data: encodeTokenState(draft, secret.data) });
      this.#remember(written, startedAt);
      return true;
    } catch (error) {
      if (isSallyportError(error, 'SECRET_CONFLICT', 'SECRET_NOT_FOUND')) return false;
      throw error;
    }
  }

  async #read(): Promise<void> {
    const startedAt = this.#clock.monotonic();
    this.#remember((await this.#store.get(this.#secret)) ?? (await this.#create()), startedAt);
  }

  /** Create-only. When the Secret vanished under a running hub, key and used tokens come back from memory. */
  async #create(): Promise<Secret> {
    const state = this.#known?.state ?? {
      key: randomBytes(KEY_BYTES),
      epoch: 0,
      revokedAt: 0,
      usedTokens: new Map<string, number>(),
      renewedCertificates: new Map<string, number>(),
    };
    try {
      return await this.#store.create({
        name: this.#secret,
        type: 'Opaque',
        data: encodeTokenState(state),
      });
    } catch (error) {
      if (!isSallyportError(error, 'SECRET_ALREADY_EXISTS')) throw error;
      const theirs = await this.#store.get(this.#secret);
      if (theirs) return theirs;
      throw new SallyportError('SECRET_NOT_FOUND', { secret: this.#secret }, error);
    }
  }

  #remember(secret: Secret, readAt: number): void {
    if (secret.version === undefined)
      throw new SallyportError('SECRET_MALFORMED', { secret: secret.name, problem: 'it has no version' });
    this.#known = { state: decodeTokenState(secret), secret: { ...secret, version: secret.version } };
    this.#readAt = readAt;
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

  #exclusively<T>(task: () => Promise<T>): Promise<T> {
    const run = this.#tail.then(task);
    this.#tail = run.catch(() => {});
    return run;
  }
}

/**
 * A replica whose clock is behind may still accept what this one thinks has ended; so it is remembered a
 * while longer.
 */
const CLOCK_TOLERANCE_MS = 10 * 60_000;

function remember(times: Map<string, number>, id: string, end: number): void {
  if (times.size >= MAX_ENTRIES) throw new SallyportError('TOKEN_STATE_FULL', { limit: MAX_ENTRIES });
  times.set(id, end);
}
