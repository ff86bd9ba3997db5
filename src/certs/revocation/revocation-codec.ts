import type { RevocationTarget } from '../../contracts/revocations.ts';
import type { Secret } from '../../contracts/secret-store.ts';
import { isSallyportError, SallyportError } from '../../core/errors.ts';
import { REVOCATION_REASONS, type RevocationReason } from '../../identity/revocation-reasons.ts';
import { isNodeName } from '../../protocol/node-name.ts';
import {
  plainSerial,
  type RevocationEntry,
  RevocationList,
  type SeenCertificate,
} from './revocation-list.ts';

/** Where the list stands in its Secret. */
export const LIST_FIELD = 'revocations.json';
/**
 * Kubernetes ends a Secret at 1 MiB (`MaxSecretSize`); receipts take up to 128 KiB of it. A node entry takes
 * about 60 bytes, one with a certificate and a short note about 130: room for 6,000 to 13,000.
 */
export const MAX_LIST_BYTES = 768 * 1024;
const FORMAT = 1;
const MAX_TEXT = 1_000;
const NAMES = Object.fromEntries(
  Object.entries(REVOCATION_REASONS).map(([name, number]) => [number, name as RevocationReason]),
) as Readonly<Record<number, RevocationReason>>;

/** Short names, times in seconds, CAs by their place in a table: the Secret may hold thousands. */
interface StoredEntry {
  /** Version. */
  readonly v: number;
  /** Node. */
  readonly n?: string;
  /** Serial. */
  readonly s?: string;
  /** CA of the serial, when only its certificates are meant. */
  readonly i?: number;
  /** Reason, its number in RFC 5280. */
  readonly r: number;
  /** At. */
  readonly t: number;
  /** By. */
  readonly b: string;
  /** Note. */
  readonly m?: string;
  /** Certificates seen: serial and CA. */
  readonly c?: readonly (readonly [string, number])[];
  /** Rejoined before. */
  readonly j?: number;
}

/** @throws REVOCATIONS_FULL */
export function encodeRevocations(list: RevocationList): Uint8Array {
  const issuers: string[] = [];
  const indexOf = (issuer: string) => {
    const found = issuers.indexOf(issuer);
    return found >= 0 ? found : issuers.push(issuer) - 1;
  };
  const entries = list.entries.map(
    ({ version, target, reason, at, by, note, certificates, rejoinedBefore }) => ({
      v: version,
      ...('node' in target ? { n: target.node } : { s: target.serial }),
      ...('serial' in target && target.issuerSha256 ? { i: indexOf(target.issuerSha256) } : {}),
      r: REVOCATION_REASONS[reason],
      t: at / 1000,
      b: by,
      ...(note === undefined ? {} : { m: note }),
      ...(certificates.length > 0
        ? { c: certificates.map(({ serial, issuerSha256 }) => [serial, indexOf(issuerSha256)] as const) }
        : {}),
      ...(rejoinedBefore === undefined ? {} : { j: rejoinedBefore / 1000 }),
    }),
  ) satisfies StoredEntry[];
  const bytes = Buffer.from(JSON.stringify({ format: FORMAT, version: list.version, issuers, entries }));
  if (bytes.length > MAX_LIST_BYTES)
    throw new SallyportError('REVOCATIONS_FULL', { limitBytes: MAX_LIST_BYTES });
  return bytes;
}

/**
 * @throws SECRET_KEY_MISSING, SECRET_MALFORMED: a damaged list is never taken for a shorter one, the revoked
 * would be let in
 */
export function decodeRevocations({ name, data }: Pick<Secret, 'name' | 'data'>): RevocationList {
  const bytes = data[LIST_FIELD];
  if (!bytes) throw new SallyportError('SECRET_KEY_MISSING', { secret: name, key: LIST_FIELD });
  const wrong = (problem: string, cause?: unknown) =>
    new SallyportError('SECRET_MALFORMED', { secret: name, problem: `${LIST_FIELD} ${problem}` }, cause);
  let stored: { format?: unknown; version?: unknown; issuers?: unknown; entries?: unknown };
  try {
    stored = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw wrong('is not JSON', cause);
  }
  if (stored === null || typeof stored !== 'object') throw wrong('is not an object');
  if (stored.format !== FORMAT) throw wrong(`has not format ${FORMAT}; was it written by a newer gateway?`);
  const { version, issuers, entries } = stored;
  if (!isCount(version)) throw wrong('has no version');
  if (!Array.isArray(issuers) || !issuers.every(isSha256)) throw wrong('has no table of CAs');
  if (!Array.isArray(entries)) throw wrong('has no entries');
  const read = entries.map((entry: unknown, index) => {
    const decoded = decodeEntry(entry, issuers);
    if (!decoded) throw wrong(`holds an entry (${index}) that cannot be read`);
    return decoded;
  });
  try {
    return new RevocationList(version, read);
  } catch (cause) {
    throw isSallyportError(cause) ? wrong(`contradicts itself: ${cause.message}`, cause) : cause;
  }
}

function decodeEntry(value: unknown, issuers: readonly string[]): RevocationEntry | undefined {
  if (value === null || typeof value !== 'object') return undefined;
  const { v, n, s, i, r, t, b, m, c, j } = value as { readonly [K in keyof StoredEntry]: unknown };
  const target = decodeTarget({ n, s, i }, issuers);
  const certificates = c === undefined ? [] : decodeSeen(c, issuers);
  if (!target || !certificates || !isCount(v) || !isCount(t) || !isText(b)) return undefined;
  const reason = typeof r === 'number' && Object.hasOwn(NAMES, r) ? NAMES[r] : undefined;
  if (!reason) return undefined;
  if ((m !== undefined && !isText(m)) || (j !== undefined && !isCount(j))) return undefined;
  if ('serial' in target && (j !== undefined || certificates.length > 0)) return undefined;
  return {
    version: v,
    target,
    reason,
    at: t * 1000,
    by: b,
    ...(m === undefined ? {} : { note: m }),
    certificates,
    ...(j === undefined ? {} : { rejoinedBefore: j * 1000 }),
  };
}

function decodeTarget(
  { n, s, i }: { readonly n: unknown; readonly s: unknown; readonly i: unknown },
  issuers: readonly string[],
): RevocationTarget | undefined {
  if (n !== undefined)
    return typeof n === 'string' && isNodeName(n) && s === undefined && i === undefined
      ? { node: n }
      : undefined;
  if (!isSerial(s)) return undefined;
  if (i === undefined) return { serial: s };
  const issuerSha256 = issuerAt(i, issuers);
  return issuerSha256 === undefined ? undefined : { serial: s, issuerSha256 };
}

function decodeSeen(value: unknown, issuers: readonly string[]): SeenCertificate[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const seen = value.map((one: unknown) => {
    if (!Array.isArray(one)) return undefined;
    const [serial, issuer] = one as unknown[];
    const issuerSha256 = issuerAt(issuer, issuers);
    return isSerial(serial) && issuerSha256 !== undefined ? { serial, issuerSha256 } : undefined;
  });
  return seen.every((one) => one !== undefined) ? seen : undefined;
}

const issuerAt = (index: unknown, issuers: readonly string[]): string | undefined =>
  isCount(index) ? issuers[index] : undefined;
/** A serial is at most 20 octets (RFC 5280 §4.1.2.2). */
const isSerial = (value: unknown): value is string =>
  typeof value === 'string' && /^[0-9A-F]{1,40}$/.test(value) && value === plainSerial(value);
const isSha256 = (value: unknown): value is string =>
  typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
const isText = (value: unknown): value is string => typeof value === 'string' && value.length <= MAX_TEXT;
/** Also bounds times: a thousand times as much is still a date that JavaScript can hold. */
const isCount = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 8_640_000_000_000;
