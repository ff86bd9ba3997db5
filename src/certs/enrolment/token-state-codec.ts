import type { Secret } from '../../contracts/secret-store.ts';
import { SallyportError } from '../../core/errors.ts';

/** What replicas have to agree about for tokens. Times in milliseconds since the epoch. */
export interface TokenStateData {
  /** HMAC key of our own tokens. */
  readonly key: Uint8Array;
  /**
   * How many times all tokens were revoked. A counter and not a time, so that the clocks of replicas do not
   * matter.
   */
  epoch: number;
  /** When that was last; 0 = never. KubeEdge's tokens carry no epoch and are judged by it. */
  revokedAt: number;
  /** `jti` of a used token → its end. */
  readonly usedTokens: Map<string, number>;
  /** Expired certificate that was renewed → when the grace for it ends. */
  readonly renewedCertificates: Map<string, number>;
}

export const KEY_BYTES = 32;
const KEY_FIELD = 'hmacKey';
const STATE_FIELD = 'state.json';

/**
 * Times are kept in seconds: the Secret may hold thousands of them, and Kubernetes ends a Secret at 1 MiB.
 */
interface StoredState {
  readonly epoch: number;
  readonly revokedAt: number;
  readonly usedTokens: Readonly<Record<string, number>>;
  readonly renewedCertificates: Readonly<Record<string, number>>;
}

/** The Secret's data; fields of others are kept. */
export function encodeTokenState(state: TokenStateData, previous: Secret['data'] = {}): Secret['data'] {
  const stored: StoredState = {
    epoch: state.epoch,
    revokedAt: state.revokedAt,
    usedTokens: toRecord(state.usedTokens),
    renewedCertificates: toRecord(state.renewedCertificates),
  };
  return { ...previous, [KEY_FIELD]: state.key, [STATE_FIELD]: Buffer.from(JSON.stringify(stored)) };
}

/**
 * @throws SECRET_KEY_MISSING, SECRET_MALFORMED: a damaged state is never taken for an empty one, used tokens
 * would work again
 */
export function decodeTokenState({ name, data }: Secret): TokenStateData {
  const key = data[KEY_FIELD];
  const state = data[STATE_FIELD];
  if (!key) throw new SallyportError('SECRET_KEY_MISSING', { secret: name, key: KEY_FIELD });
  if (!state) throw new SallyportError('SECRET_KEY_MISSING', { secret: name, key: STATE_FIELD });
  if (key.length !== KEY_BYTES) throw malformed(name, `${KEY_FIELD} has not ${KEY_BYTES} bytes`);
  const stored = parseJson(name, state);
  if (!isCount(stored.epoch) || !isCount(stored.revokedAt))
    throw malformed(name, `${STATE_FIELD} lacks epoch or revokedAt`);
  return {
    key,
    epoch: stored.epoch,
    revokedAt: stored.revokedAt,
    usedTokens: toMap(name, stored.usedTokens),
    renewedCertificates: toMap(name, stored.renewedCertificates),
  };
}

function parseJson(secret: string, bytes: Uint8Array): Partial<Record<keyof StoredState, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    throw malformed(secret, `${STATE_FIELD} is not JSON`);
  }
  if (typeof value !== 'object' || value === null) throw malformed(secret, `${STATE_FIELD} is not an object`);
  return value;
}

function toRecord(times: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...times].map(([id, time]) => [id, Math.ceil(time / 1000)]));
}

function toMap(secret: string, record: unknown): Map<string, number> {
  if (typeof record !== 'object' || record === null) throw malformed(secret, `${STATE_FIELD} lacks a list`);
  const entries = Object.entries(record);
  if (!entries.every((entry): entry is [string, number] => isCount(entry[1])))
    throw malformed(secret, `${STATE_FIELD} holds something that is no time`);
  return new Map(entries.map(([id, seconds]) => [id, seconds * 1000]));
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function malformed(secret: string, problem: string): SallyportError {
  return new SallyportError('SECRET_MALFORMED', { secret, problem });
}
