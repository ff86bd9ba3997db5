import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type {
  AccessWish,
  BearerReviewer,
  BearerVerdict,
  ReviewOptions,
} from '../../contracts/bearer-reviewer.ts';
import type { Clock } from '../../core/clock.ts';
import { describeError } from '../../core/errors.ts';
import { type Logger, LogSampler } from '../../core/log.ts';
import type { KubeClient } from './kube-client.ts';
import { KubeApiError } from './kube-errors.ts';

/**
 * How long an answer is believed: as long as a revoked token may go on working, milliseconds. Outages are
 * never remembered.
 */
const REMEMBER_MS = { ok: 30_000, refused: 10_000 };
const MAX_REMEMBERED = 1_000;
/**
 * Callers whose last good answer is kept for the time without any. Only whom the cluster let in takes a
 * place, so strangers push nobody out.
 */
const MAX_RELIED_ON = 100;
/** A known caller waits so long for the API, milliseconds; Prometheus waits 10 s for the whole scrape. */
const PATIENCE_MS = 1_000;
/** Questions to the API at once: strangers with made-up tokens must not turn this gateway against it. */
const MAX_UNDER_WAY = 20;
/**
 * Service account tokens are about 1 kB, those of identity providers up to a few. RFC 6750 §2.1: b64token.
 */
const TOKEN = /^[A-Za-z0-9\-._~+/]{1,8192}=*$/;

interface UserInfo {
  readonly username: string;
  readonly uid?: string;
  readonly groups?: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** Somebody who was let in, and what ends that without a word of the API. */
interface LastGood {
  readonly verdict: BearerVerdict;
  /** When the token ends by its own word, seconds since the epoch. */
  readonly exp: number;
}

/**
 * Asks the Kubernetes API whose a token is (TokenReview) and whether its owner may do what it asks for
 * (SubjectAccessReview on a non-resource path). Needs the ClusterRole `system:auth-delegator`; without it,
 * and whenever the API does not answer, nobody is let in; with `relyOnLast`, nobody but who was before.
 */
export class KubeBearerReviewer implements BearerReviewer {
  readonly #client: Pick<KubeClient, 'call'>;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #sampler: LogSampler;
  readonly #known: LRUCache<string, { readonly verdict: BearerVerdict; readonly until: number }>;
  readonly #lastGood: LRUCache<string, LastGood>;
  readonly #underWay = new Map<string, Promise<BearerVerdict>>();

  constructor({ client, clock, log }: { client: Pick<KubeClient, 'call'>; clock: Clock; log: Logger }) {
    this.#client = client;
    this.#clock = clock;
    this.#log = log;
    this.#sampler = new LogSampler({ clock });
    this.#known = new LRUCache({ max: MAX_REMEMBERED });
    this.#lastGood = new LRUCache({ max: MAX_RELIED_ON });
  }

  async review(
    token: string,
    wish: AccessWish,
    { relyOnLast = false }: ReviewOptions = {},
  ): Promise<BearerVerdict> {
    if (!TOKEN.test(token)) return unknown('it is not a bearer token');
    // The token itself is not kept in memory.
    const key = hash('sha256', `${token}\n${wish.verb}\n${wish.path}`);
    const known = this.#known.get(key);
    if (known && this.#clock.monotonic() < known.until) return known.verdict;
    const asked = this.#underWay.get(key) ?? this.#begin(key, { token, wish, relyOnLast });
    const last = relyOnLast ? this.#lastGood.get(key) : undefined;
    const isGood = last && this.#clock.now() < last.exp * 1000;
    if (!isGood) return asked;
    const verdict = await this.#within(PATIENCE_MS, asked);
    return verdict && (verdict.ok || verdict.why !== 'unavailable') ? verdict : last.verdict;
  }

  /** One question for all who ask the same at the same time. */
  #begin(
    key: string,
    { token, wish, relyOnLast }: { token: string; wish: AccessWish; relyOnLast: boolean },
  ): Promise<BearerVerdict> {
    if (this.#underWay.size >= MAX_UNDER_WAY)
      return Promise.resolve(unavailable('too many tokens are being checked'));
    const asked = this.#ask(token, wish)
      .then((verdict) => {
        const rememberMs = verdict.ok ? REMEMBER_MS.ok : REMEMBER_MS.refused;
        this.#known.set(key, { verdict, until: this.#clock.monotonic() + rememberMs });
        if (verdict.ok && relyOnLast) this.#lastGood.set(key, { verdict, exp: expiryOf(token) });
        else this.#lastGood.delete(key);
        return verdict;
      })
      .catch((error: unknown) => this.#failed(error))
      .finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, asked);
    return asked;
  }

  /** Undefined when it takes longer. */
  #within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
    return new Promise((resolve) => {
      const timer = this.#clock.setTimeout(() => resolve(undefined), ms);
      promise.then(resolve).finally(() => timer.cancel());
    });
  }

  async #ask(token: string, wish: AccessWish): Promise<BearerVerdict> {
    const { status: who } = await this.#create<{ authenticated?: boolean; user?: UserInfo }>(
      'authentication.k8s.io',
      'TokenReview',
      { token },
    );
    const user = who?.user;
    if (who?.authenticated !== true || typeof user?.username !== 'string' || user.username === '')
      return unknown('the cluster does not know this token');
    const { username, uid, groups, extra } = user;
    const { status: may } = await this.#create<{ allowed?: boolean; denied?: boolean }>(
      'authorization.k8s.io',
      'SubjectAccessReview',
      { user: username, uid, groups, extra, nonResourceAttributes: wish },
    );
    if (may?.allowed === true && may.denied !== true) return { ok: true, name: username };
    return {
      ok: false,
      why: 'forbidden',
      detail: `${username} may not ${wish.verb} the non-resource URL ${wish.path}`,
    };
  }

  async #create<T>(group: string, kind: string, spec: unknown): Promise<{ readonly status?: T }> {
    return (await this.#client.call({
      method: 'POST',
      path: `/apis/${group}/v1/${kind.toLowerCase()}s`,
      body: { apiVersion: `${group}/v1`, kind, spec },
    })) as { status?: T };
  }

  #failed(error: unknown): BearerVerdict {
    const isForbidden = error instanceof KubeApiError && error.status === 403;
    const problem = isForbidden
      ? 'this gateway may not create tokenreviews and subjectaccessreviews; bind system:auth-delegator to it'
      : describeError(error);
    const suppressed = this.#sampler.pass('review');
    if (suppressed !== undefined) this.#log.warn({ problem, suppressed }, 'a bearer token cannot be checked');
    return unavailable(isForbidden ? problem : 'the Kubernetes API does not answer');
  }
}

/**
 * The claim `exp` (RFC 7519 §4.1.4). The cluster has verified the very token, so its word counts; a token
 * without one ends when the cluster says so.
 */
function expiryOf(token: string): number {
  try {
    const { exp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as {
      exp?: unknown;
    };
    return typeof exp === 'number' ? exp : Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

const unknown = (detail: string): BearerVerdict => ({ ok: false, why: 'unknown', detail });
const unavailable = (detail: string): BearerVerdict => ({ ok: false, why: 'unavailable', detail });
