import type { CertificateInfo, MintedToken } from '../../contracts/certificate-issuer.ts';
import type { EventRecorder } from '../../contracts/event-recorder.ts';
import type { SecretStore } from '../../contracts/secret-store.ts';
import { backoffDelayMs } from '../../core/backoff.ts';
import type { Clock } from '../../core/clock.ts';
import { describeError, isSallyportError, SallyportError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import { SharedRecord } from '../../core/shared-record.ts';
import { caHashOf, type EnrolmentToken, KUBEEDGE_TOKEN_TTL_MS } from './enrolment-token.ts';

export interface FleetTokenComponents {
  readonly store: SecretStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events?: EventRecorder | undefined;
  readonly metrics: Pick<Metrics, 'tokenNotAfter' | 'tokenNotBefore'>;
  /** Signature, dates, revocations. */
  readonly verify: (token: string) => Promise<EnrolmentToken>;
  readonly mint: () => Promise<MintedToken>;
  /** Of the CA that `/ca.crt` serves. */
  readonly caSha256: () => string;
}

export interface FleetTokenOptions {
  readonly secret: string;
  readonly ttlMs: number;
  /** False leaves the Secret alone. */
  readonly enabled: boolean;
}

/** KubeEdge's key in `tokensecret` (docs/secrets.md). */
const FIELD = 'tokendata';
/**
 * Replaced when a third of its life is over. The Secret must never hold a token with less than half its life
 * (E1), so a sixth, four hours of a day, is left to retries while the store is down.
 */
const REFRESH_AFTER = 1 / 3;
/** How soon a Secret that somebody deleted, damaged or moved to another CA is noticed. */
const CHECK_MS = 60_000;
const RETRY = { minMs: 1_000, maxMs: 60_000 } as const;

/**
 * Keeps a fresh fleet token in KubeEdge's token Secret. Replicas need no leader: the one whose
 * compare-and-set wins has written (E3).
 */
export class FleetToken {
  readonly #components: FleetTokenComponents;
  readonly #options: () => FleetTokenOptions;
  #stopping: AbortController | undefined;
  #wake: (() => void) | undefined;
  #running: Promise<void> = Promise.resolve();
  #stored: EnrolmentToken | undefined;

  constructor(components: FleetTokenComponents, options: () => FleetTokenOptions) {
    this.#components = components;
    this.#options = options;
  }

  /** Goes on in the background; the store may be down meanwhile. */
  start(): void {
    this.#stopping = new AbortController();
    this.#running = this.#run(this.#stopping.signal);
  }

  async stop(): Promise<void> {
    this.#stopping?.abort();
    this.#wake?.();
    await this.#running;
  }

  /**
   * The stored token when it is good for long enough; otherwise a new one is stored. A token of KubeEdge is
   * adopted as it is.
   * @throws BAD_REQUEST when fleet tokens are not accepted, errors of the store
   */
  async ensure(signal?: AbortSignal): Promise<MintedToken> {
    const { secret: name, enabled } = this.#options();
    if (!enabled) throw new SallyportError('BAD_REQUEST', { problem: 'tokens.acceptFleet is off' });
    const { store, clock, metrics, mint } = this.#components;
    let token: MintedToken | undefined;
    const record = new SharedRecord<string>(
      { store, clock },
      {
        name,
        codec: {
          decode: (secret) => ({ value: Buffer.from(secret?.data[FIELD] ?? []).toString('utf8') }),
          encode: (text, previous) => ({ ...previous, [FIELD]: Buffer.from(text, 'utf8') }),
        },
      },
    );
    const { wrote } = await record.change(
      async (text) => {
        token = (await this.#usable(text)) ?? (await mint());
        return token.token;
      },
      { signal },
    );
    if (wrote) this.#tellStored(name, token!);
    this.#stored = await this.#components.verify(token!.token);
    metrics.tokenNotAfter.set(token!.expiresAt.getTime() / 1000);
    metrics.tokenNotBefore.set(issuedAt(this.#stored) / 1000);
    return token!;
  }

  /** The stored token beside the certificates it stands with; nothing of it that could be used. */
  describe(): CertificateInfo | undefined {
    const { secret, enabled } = this.#options();
    const token = this.#stored;
    if (!enabled || token === undefined) return undefined;
    return {
      kind: 'fleet-token',
      secret,
      subject: 'any node',
      issuer: token.kind === 'kubeedge' ? 'KubeEdge' : 'Sallyport',
      serial: token.kind === 'kubeedge' ? '' : token.id,
      sha256: '',
      notBefore: new Date(issuedAt(token)).toISOString(),
      notAfter: new Date(token.expiresAt).toISOString(),
      names: [],
      managed: true,
      external: false,
    };
  }

  /**
   * Replaces a token that is revoked or names another CA: at once when the store allows, else as soon as it
   * does. Never rejects.
   */
  async replaceSoon(): Promise<void> {
    if (!this.#options().enabled) return;
    try {
      await this.ensure();
    } catch (error) {
      this.#components.log.warn({ problem: describeError(error) }, 'the fleet token is replaced later');
      this.#wake?.();
    }
  }

  /**
   * Undefined when the stored one has to be replaced. @throws errors of the store, which say nothing about
   * the token
   */
  async #usable(text: string): Promise<MintedToken | undefined> {
    const { clock, verify, caSha256 } = this.#components;
    // The bare JWT would verify, but an edge needs the hash, and of the CA it will be served (C3).
    if (caHashOf(text) !== caSha256()) return undefined;
    try {
      const token = await verify(text);
      if (token.kind === 'node') return undefined;
      const freshUntil = token.expiresAt - (token.expiresAt - issuedAt(token)) * (1 - REFRESH_AFTER);
      return clock.now() < freshUntil ? { token: text, expiresAt: new Date(token.expiresAt) } : undefined;
    } catch (error) {
      if (isSallyportError(error, 'TOKEN_INVALID', 'TOKEN_EXPIRED', 'TOKEN_REVOKED', 'TOKEN_USED'))
        return undefined;
      throw error;
    }
  }

  #tellStored(secret: string, { expiresAt }: MintedToken): void {
    const { log, events } = this.#components;
    log.info({ secret, expiresAt: expiresAt.toISOString() }, 'fleet token stored');
    events?.record({
      reason: 'FleetTokenStored',
      type: 'Normal',
      secret,
      message: 'stored a new fleet token',
    });
  }

  async #run(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; ) {
      let delayMs = Math.min(CHECK_MS, this.#options().ttlMs / 12);
      try {
        if (this.#options().enabled) await this.ensure(signal);
        else this.#components.metrics.tokenNotAfter.set(0);
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        delayMs = Math.min(delayMs, backoffDelayMs(failures++, RETRY));
        this.#components.log.warn(
          { problem: describeError(error), delayMs },
          'fleet token could not be checked; trying again',
        );
      }
      if (!signal.aborted) await this.#sleep(delayMs);
    }
  }

  #sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#components.clock.setTimeout(resolve, delayMs);
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}

/** KubeEdge's tokens do not say it, but always live equally long. */
function issuedAt(token: EnrolmentToken): number {
  return token.kind === 'kubeedge' ? token.expiresAt - KUBEEDGE_TOKEN_TTL_MS : token.issuedAt;
}
