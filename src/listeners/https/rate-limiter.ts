import { isIPv6 } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import type { HttpsOptions } from './options.ts';

export interface RateLimits {
  readonly perMinutePerSource: number;
  readonly perMinute: number;
}

/** That of one kind of request. @param factor how many times as many of them there may be */
export function requestLimiter(clock: Clock, options: () => HttpsOptions, factor = 1): RateLimiter {
  return new RateLimiter(clock, () => ({
    perMinutePerSource: options().requestsPerMinutePerSource * factor,
    perMinute: options().requestsPerMinute * factor,
  }));
}

/**
 * Two token buckets (requirement D10): one a source, then one in all, each filled evenly and holding up to a
 * minute's worth. A source over its own limit takes nothing from the common bucket, so a flood of one leaves
 * the others theirs. Memory is bounded: of too many sources, the one not seen for longest is forgotten.
 */
export class RateLimiter {
  readonly #clock: Clock;
  readonly #limits: () => RateLimits;
  readonly #maxSources: number;
  readonly #sources = new Map<string, Bucket>();
  readonly #all: Bucket;

  /** @param limits asked at each request, so that a changed configuration applies at once */
  constructor(clock: Clock, limits: () => RateLimits, { maxSources = 10_000 }: { maxSources?: number } = {}) {
    this.#clock = clock;
    this.#limits = limits;
    this.#maxSources = maxSources;
    this.#all = { tokens: limits().perMinute, at: clock.monotonic() };
  }

  /** @throws RATE_LIMITED with `retryAfterMs` and `limit` (`source` or `all`) in its details */
  take(source: string): void {
    const { perMinutePerSource, perMinute } = this.#limits();
    const now = this.#clock.monotonic();
    const own = this.#sources.get(source) ?? { tokens: perMinutePerSource, at: now };
    this.#sources.delete(source);
    this.#sources.set(source, own);
    if (this.#sources.size > this.#maxSources) this.#sources.delete(this.#sources.keys().next().value!);

    refill(own, now, perMinutePerSource);
    refill(this.#all, now, perMinute);
    if (own.tokens < 1) throw limited('source', own, perMinutePerSource);
    if (this.#all.tokens < 1) throw limited('all', this.#all, perMinute);
    own.tokens--;
    this.#all.tokens--;
  }

  /** Sources remembered now. */
  get size(): number {
    return this.#sources.size;
  }
}

interface Bucket {
  tokens: number;
  /** When it was last filled, milliseconds since the epoch. */
  at: number;
}

function refill(bucket: Bucket, now: number, perMinute: number): void {
  // A clock that was set back gives nothing and takes nothing.
  const elapsedMs = Math.max(0, now - bucket.at);
  bucket.tokens = Math.min(perMinute, bucket.tokens + (elapsedMs * perMinute) / 60_000);
  bucket.at = now;
}

function limited(limit: 'source' | 'all', bucket: Bucket, perMinute: number): SallyportError {
  const retryAfterMs = Math.ceil(((1 - bucket.tokens) * 60_000) / perMinute);
  return new SallyportError('RATE_LIMITED', { limit, retryAfterMs });
}

/**
 * What counts as one source among strangers: an IPv4 address, or the /64 of an IPv6 address, because a single
 * machine commonly owns a whole /64 (RFC 6177 §2).
 */
export function sourceOf(address: string): string {
  const plain = address.toLowerCase().replace(/^::ffff:(?=[\d.]+$)/, '');
  if (!isIPv6(plain)) return plain;
  const [head = '', tail] = plain.split('%')[0]!.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail ? tail.split(':') : [];
  const zeros = tail === undefined ? [] : Array(Math.max(0, 8 - left.length - right.length)).fill('0');
  const groups = [...left, ...zeros, ...right].slice(0, 4);
  return `${groups.map((group) => group.replace(/^0+(?=.)/, '')).join(':')}::/64`;
}
