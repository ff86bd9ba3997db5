import type { CertificateInfo, MintedToken, TokenMinter } from '../../contracts/certificate-issuer.ts';
import type { CaCertificate } from '../../contracts/certificate-source.ts';
import type { EventRecorder } from '../../contracts/event-recorder.ts';
import type { SecretStore } from '../../contracts/secret-store.ts';
import { retry } from '../../core/backoff.ts';
import type { Clock } from '../../core/clock.ts';
import { describeError, isSallyportError, SallyportError } from '../../core/errors.ts';
import type { Component } from '../../core/lifecycle.ts';
import type { Logger } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import { TOKEN_LIFETIME_MS } from '../../identity/token-lifetime.ts';
import { isNodeName } from '../../protocol/node-name.ts';
import { type EnrolmentToken, KUBEEDGE_TOKEN_TTL_MS, mintToken, verifyToken } from './enrolment-token.ts';
import { FleetToken } from './fleet-token.ts';
import { type ReadonlyTokenState, TokenState } from './token-state.ts';

/** What tokens need of the CA. */
export interface TokenAuthority {
  readonly certificate: CaCertificate;
  /** Raw bytes of `cakeydata`, KubeEdge's HMAC key. */
  readonly rawKey: Uint8Array;
}

export interface TokenServiceComponents {
  readonly store: SecretStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events?: EventRecorder;
  readonly metrics: Pick<Metrics, 'tokenNotAfter' | 'tokenNotBefore'>;
  /** The CA in use now. */
  readonly authority: () => TokenAuthority;
}

/** The section `tokens` of the configuration. `fleetSecret` and `stateSecret` are read once. */
export interface TokenServiceOptions {
  readonly fleetSecret: string;
  readonly stateSecret: string;
  readonly fleetTtlMs: number;
  readonly nodeTtlMs: number;
  /** False refuses every token that enrols any node, KubeEdge's included. */
  readonly acceptFleet: boolean;
  readonly acceptKubeEdge: boolean;
}

const RETRY = { minMs: 500, maxMs: 30_000 } as const;

/**
 * Mints enrolment tokens, says whether one is acceptable now, and uses it up. Usable once `start()` has
 * resolved.
 */
export class TokenService implements TokenMinter, Component {
  readonly name = 'enrolment tokens';
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #events: EventRecorder | undefined;
  readonly #authority: () => TokenAuthority;
  readonly #state: TokenState;
  readonly #fleet: FleetToken;
  readonly #options: () => TokenServiceOptions;

  constructor(components: TokenServiceComponents, options: () => TokenServiceOptions) {
    this.#clock = components.clock;
    this.#log = components.log;
    this.#events = components.events;
    this.#authority = components.authority;
    this.#options = options;
    this.#state = new TokenState(components, { secret: options().stateSecret });
    this.#fleet = new FleetToken(
      {
        ...components,
        verify: (token) => this.#verify(token),
        mint: () => this.#mint(options().fleetTtlMs),
        caSha256: () => components.authority().certificate.sha256,
      },
      () => ({
        secret: options().fleetSecret,
        ttlMs: options().fleetTtlMs,
        enabled: options().acceptFleet,
      }),
    );
  }

  /**
   * Waits, with back-off, for a store that cannot be reached. @throws SECRET_MALFORMED, SECRET_KEY_MISSING,
   * the reason of `signal`
   */
  async start(signal: AbortSignal): Promise<void> {
    await retry(() => this.#state.current(0), {
      ...RETRY,
      clock: this.#clock,
      signal,
      isRetryable: (error) => !isSallyportError(error, 'SECRET_MALFORMED', 'SECRET_KEY_MISSING'),
      onRetry: (error, delayMs) =>
        this.#log.warn(
          { problem: describeError(error), delayMs },
          'token state cannot be read yet; trying again',
        ),
    });
    this.#fleet.start();
  }

  /** Another CA issues: the stored token names the one before, and is replaced at once (requirement C3). */
  caChanged(): void {
    void this.#fleet.replaceSoon();
  }

  /** Ends the timers (requirement E2). */
  async stop(): Promise<void> {
    await this.#fleet.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** @throws NODE_NAME_INVALID, BAD_REQUEST when `ttlMs` is out of bounds, errors of the store */
  async createNodeToken(nodeName: string, ttlMs = this.#options().nodeTtlMs): Promise<MintedToken> {
    if (!isNodeName(nodeName)) throw new SallyportError('NODE_NAME_INVALID');
    const { min, max } = TOKEN_LIFETIME_MS;
    if (!(ttlMs >= min && ttlMs <= max))
      throw new SallyportError('BAD_REQUEST', {
        problem: `the lifetime of a token is ${min} to ${max} ms`,
      });
    return this.#mint(ttlMs, nodeName);
  }

  /** @throws BAD_REQUEST when `tokens.acceptFleet` is off, errors of the store */
  fleetToken(): Promise<MintedToken> {
    return this.#fleet.ensure();
  }

  describeFleetToken(): CertificateInfo | undefined {
    return this.#fleet.describe();
  }

  /**
   * Resolves when it is written; other replicas hold to it within 5 s, when they read the state again (E8).
   * @throws errors of the store
   */
  async revokeAll(): Promise<void> {
    await this.#state.revokeAll();
    this.#log.warn({}, 'all enrolment tokens were revoked');
    this.#events?.record({
      reason: 'TokensRevoked',
      type: 'Warning',
      secret: this.#options().stateSecret,
      message: 'every enrolment token created until now is refused',
    });
    await this.#fleet.replaceSoon();
  }

  /**
   * Says whether the token is good for this node now; uses nothing up. The signature comes first, so that
   * garbage costs no access to the store.
   * @throws TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_USED, TOKEN_REVOKED, TOKEN_OTHER_NODE, errors of the store
   */
  async verify(text: string, nodeName: string): Promise<EnrolmentToken> {
    const token = await this.#verify(text);
    if (token.kind === 'node' && token.nodeName !== nodeName) throw new SallyportError('TOKEN_OTHER_NODE');
    return token;
  }

  /**
   * Uses a node token up: of any number of calls, on any replica, one resolves. Others may be used again.
   * @throws TOKEN_USED, TOKEN_REVOKED
   */
  async consume(token: EnrolmentToken): Promise<void> {
    if (token.kind === 'node') await this.#state.useToken(token);
  }

  /** True when this expired certificate was renewed before (F1). */
  async isGraceUsed(certificate: string): Promise<boolean> {
    return (await this.#state.current()).renewedCertificates.has(certificate);
  }

  /**
   * @param certificate stands for issuer and serial @param until when its grace ends, milliseconds @throws
   * GRACE_USED
   */
  async consumeGrace(certificate: string, until: number): Promise<void> {
    await this.#state.useGrace(certificate, until);
  }

  async #mint(ttlMs: number, nodeName?: string): Promise<MintedToken> {
    // Read anew: with an old epoch the token would be born revoked.
    const { key, epoch } = await this.#state.current(0);
    return mintToken({
      key,
      epoch,
      ttlMs,
      caSha256: this.#authority().certificate.sha256,
      now: this.#clock.now(),
      ...(nodeName === undefined ? {} : { nodeName }),
    });
  }

  async #verify(text: string): Promise<EnrolmentToken> {
    const known = this.#state.lastKnown ?? (await this.#state.current());
    const authority = this.#authority();
    const token = await verifyToken(text, {
      ownKey: known.key,
      kubeEdgeKey: authority.rawKey,
      caSha256: [authority.certificate.sha256],
      now: this.#clock.now(),
    });
    this.#checkPolicy(token);
    this.#checkState(token, await this.#state.current());
    return token;
  }

  #checkState(token: EnrolmentToken, state: ReadonlyTokenState): void {
    if (token.kind === 'kubeedge') {
      // No issue time inside: what ends within one lifetime of the revocation may have been minted before it.
      const ttlMs = Math.max(this.#options().fleetTtlMs, KUBEEDGE_TOKEN_TTL_MS);
      if (state.revokedAt > 0 && token.expiresAt <= state.revokedAt + ttlMs)
        throw new SallyportError('TOKEN_REVOKED');
      return;
    }
    if (token.epoch < state.epoch) throw new SallyportError('TOKEN_REVOKED');
    if (state.usedTokens.has(token.id)) throw new SallyportError('TOKEN_USED');
  }

  #checkPolicy(token: EnrolmentToken): void {
    const { acceptFleet, acceptKubeEdge } = this.#options();
    if (token.kind !== 'node' && !acceptFleet)
      throw new SallyportError('TOKEN_INVALID', { problem: 'this hub accepts tokens for one node only' });
    if (token.kind === 'kubeedge' && !acceptKubeEdge)
      throw new SallyportError('TOKEN_INVALID', { problem: 'this hub accepts no tokens of KubeEdge' });
  }
}
