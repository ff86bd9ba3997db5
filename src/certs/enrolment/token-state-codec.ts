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
/** What does not stand in {@link STATE_FIELD}: 12 bytes of the id, 4 of the second, one after the other. */
const PACKED_FIELDS = {
  usedTokens: 'used-tokens.bin',
  renewedCertificates: 'renewed-certificates.bin',
} as const;
const ID_BYTES = 12;
const PACKED_BYTES = ID_BYTES + 4;
/** Entries of each kind in JSON, with 31 bytes each; versions up to 0.1.0 read nothing else. */
const IN_JSON = 5_000;
/** Both kinds together stay under the 1 MiB that Kubernetes grants a Secret. */
export const MAX_ENTRIES = { usedTokens: 36_000, renewedCertificates: 15_000 } as const;

/** Times are kept in seconds: the Secret may hold thousands of them. */
interface StoredState {
  readonly epoch: number;
  readonly revokedAt: number;
  readonly usedTokens: Readonly<Record<string, number>>;
  readonly renewedCertificates: Readonly<Record<string, number>>;
}

/** The Secret's data; fields of others are kept. */
export function encodeTokenState(state: TokenStateData, previous: Secret['data'] = {}): Secret['data'] {
  const used = divide(state.usedTokens);
  const renewed = divide(state.renewedCertificates);
  const stored: StoredState = {
    epoch: state.epoch,
    revokedAt: state.revokedAt,
    usedTokens: used.listed,
    renewedCertificates: renewed.listed,
  };
  return {
    ...previous,
    [KEY_FIELD]: state.key,
    [STATE_FIELD]: Buffer.from(JSON.stringify(stored)),
    [PACKED_FIELDS.usedTokens]: used.packed,
    [PACKED_FIELDS.renewedCertificates]: renewed.packed,
  };
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
    usedTokens: new Map([...toMap(name, stored.usedTokens), ...unpack({ name, data }, 'usedTokens')]),
    renewedCertificates: new Map([
      ...toMap(name, stored.renewedCertificates),
      ...unpack({ name, data }, 'renewedCertificates'),
    ]),
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

/** The first of them for JSON, the others packed; an id that is not ours cannot be packed. */
function divide(times: ReadonlyMap<string, number>): { listed: Record<string, number>; packed: Uint8Array } {
  const listed: Record<string, number> = {};
  const packed: Buffer[] = [];
  let count = 0;
  for (const [id, time] of times) {
    const seconds = Math.ceil(time / 1000);
    const bytes = Buffer.from(id, 'base64url');
    const isOurs = bytes.length === ID_BYTES && bytes.toString('base64url') === id && seconds < 2 ** 32;
    if (count++ < IN_JSON || !isOurs) {
      listed[id] = seconds;
      continue;
    }
    const entry = Buffer.alloc(PACKED_BYTES);
    bytes.copy(entry);
    entry.writeUInt32BE(seconds, ID_BYTES);
    packed.push(entry);
  }
  return { listed, packed: Buffer.concat(packed) };
}

function unpack(
  { name, data }: Pick<Secret, 'name' | 'data'>,
  kind: keyof typeof PACKED_FIELDS,
): [string, number][] {
  const field = PACKED_FIELDS[kind];
  const bytes = Buffer.from(data[field] ?? []);
  if (bytes.length % PACKED_BYTES !== 0) throw malformed(name, `${field} is cut off`);
  return Array.from({ length: bytes.length / PACKED_BYTES }, (_, at) => {
    const start = at * PACKED_BYTES;
    const id = bytes.toString('base64url', start, start + ID_BYTES);
    return [id, bytes.readUInt32BE(start + ID_BYTES) * 1000];
  });
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
