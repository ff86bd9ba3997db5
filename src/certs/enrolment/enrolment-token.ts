import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { decodeProtectedHeader, errors, type JWTPayload, jwtVerify, SignJWT } from 'jose';
import { SallyportError } from '../../core/errors.ts';
import { isNodeName } from '../../protocol/node-name.ts';

/**
 * A verified enrolment token. `kubeedge`: minted by CloudCore with the CA key, names nothing but its end
 * (KubeEdge: cloud/pkg/cloudhub/servers/httpserver/token.go). `fleet`: ours, any node name. `node`: ours, one
 * node, one use.
 */
export type EnrolmentToken =
  | { readonly kind: 'kubeedge'; readonly id: string; readonly expiresAt: number }
  | OwnToken<'fleet'>
  | (OwnToken<'node'> & { readonly nodeName: string });

interface OwnToken<K extends string> {
  readonly kind: K;
  /**
   * The `jti`, or for KubeEdge's tokens a hash of the JWT: names the token in records without being worth
   * anything.
   */
  readonly id: string;
  /** How many times all tokens had been revoked when this one was minted. */
  readonly epoch: number;
  /** Milliseconds since the epoch, as all times here. */
  readonly issuedAt: number;
  readonly expiresAt: number;
}

export interface MintTokenOptions {
  /** HMAC key, 32 bytes: never the CA key (requirement E4). */
  readonly key: Uint8Array;
  /** Of the CA that `/ca.crt` serves. */
  readonly caSha256: string;
  /** Without it, a fleet token. */
  readonly nodeName?: string;
  readonly epoch: number;
  readonly now: number;
  readonly ttlMs: number;
}

export interface VerifyTokenOptions {
  readonly ownKey: Uint8Array;
  /** Raw bytes of `cakeydata`. */
  readonly kubeEdgeKey: Uint8Array;
  /** SHA-256 of every CA that a token may name, lower-case hexadecimal. */
  readonly caSha256: readonly string[];
  readonly now: number;
}

/**
 * CloudCore's tokens live a day and do not say since when (KubeEdge:
 * cloud/pkg/cloudhub/servers/httpserver/token.go).
 */
export const KUBEEDGE_TOKEN_TTL_MS = 24 * 3_600_000;
const ALGORITHM = 'HS256';
const FLEET_SUBJECT = 'system:nodes';
const NODE_SUBJECT = 'system:node:';
/** Ours have about 320 characters; the bound keeps hostile input cheap. */
const MAX_LENGTH = 4096;
/** Largest time a `Date` can hold, in seconds (ECMA-262, time values). */
const MAX_SECONDS = 8.64e12;

/** Mints `<hex sha256 of the CA>.<JWT>` (docs/protocol.md, Tokens). */
export async function mintToken(options: MintTokenOptions): Promise<{ token: string; expiresAt: Date }> {
  const subject = options.nodeName === undefined ? FLEET_SUBJECT : NODE_SUBJECT + options.nodeName;
  const expiresAt = Math.floor((options.now + options.ttlMs) / 1000);
  const jwt = await new SignJWT({ epoch: options.epoch })
    .setProtectedHeader({ alg: ALGORITHM, typ: 'JWT' })
    .setSubject(subject)
    .setJti(randomBytes(12).toString('base64url'))
    .setIssuedAt(Math.floor(options.now / 1000))
    .setExpirationTime(expiresAt)
    .sign(options.key);
  return { token: `${options.caSha256}.${jwt}`, expiresAt: new Date(expiresAt * 1000) };
}

/**
 * Checks form, CA hash (when it is there: EdgeCore sends the JWT alone), algorithm, signature and end.
 * Whether the token was used or revoked is not its business. Comparisons take constant time:
 * `timingSafeEqual` here, WebCrypto's HMAC in jose.
 * @throws TOKEN_INVALID, TOKEN_EXPIRED; never an error that repeats the token
 */
export async function verifyToken(text: string, options: VerifyTokenOptions): Promise<EnrolmentToken> {
  const { caHash, jwt } = splitToken(text);
  if (caHash !== undefined) checkCaHash(caHash, options.caSha256);
  checkHeader(jwt);
  const own = await verifySignature(jwt, options.ownKey, options.now);
  if (own) return readOwnClaims(own);
  const kubeEdge = await verifySignature(jwt, options.kubeEdgeKey, options.now);
  if (!kubeEdge) throw invalid('its signature does not verify');
  const id = `kubeedge-${createHash('sha256').update(jwt).digest('hex').slice(0, 16)}`;
  return { kind: 'kubeedge', id, expiresAt: endOf(kubeEdge) };
}

/** The CA hash a whole token begins with; undefined for a bare JWT and for anything else. */
export function caHashOf(text: string): string | undefined {
  return /^([0-9a-f]{64})\.[^.]+\.[^.]+\.[^.]+$/i.exec(text)?.[1]?.toLowerCase();
}

function splitToken(text: string): { caHash: string | undefined; jwt: string } {
  if (text.length > MAX_LENGTH) throw invalid('it is too long');
  const parts = text.split('.');
  if (parts.some((part) => !/^[A-Za-z0-9_-]*$/.test(part))) throw invalid('it holds characters no token has');
  if (parts.length === 3) return { caHash: undefined, jwt: text };
  if (parts.length !== 4) throw invalid('it has neither three nor four parts');
  return { caHash: parts[0], jwt: parts.slice(1).join('.') };
}

function checkCaHash(caHash: string, trusted: readonly string[]): void {
  if (!/^[0-9a-f]{64}$/i.test(caHash)) throw invalid('its first part is not the hash of a CA');
  const given = Buffer.from(caHash, 'hex');
  let matches = 0;
  for (const sha256 of trusted) if (timingSafeEqual(given, Buffer.from(sha256, 'hex'))) matches++;
  if (matches === 0) throw invalid('it belongs to another CA than that of this hub');
}

/**
 * Pinned before any key is touched: neither `none` nor a public key used as an HMAC key gets further (RFC
 * 8725 section 3.1).
 */
function checkHeader(jwt: string): void {
  let algorithm: unknown;
  try {
    algorithm = decodeProtectedHeader(jwt).alg;
  } catch {
    throw invalid('it is not a JWT');
  }
  if (algorithm !== ALGORITHM) throw invalid(`it is not signed with ${ALGORITHM}`);
}

/** Undefined when the signature is not of this key; throws when it is and the claims are not acceptable. */
async function verifySignature(jwt: string, key: Uint8Array, now: number): Promise<JWTPayload | undefined> {
  try {
    const { payload } = await jwtVerify(jwt, key, {
      algorithms: [ALGORITHM],
      currentDate: new Date(now),
      requiredClaims: ['exp'],
    });
    endOf(payload);
    return payload;
  } catch (error) {
    if (error instanceof SallyportError) throw error;
    if (error instanceof errors.JWSSignatureVerificationFailed) return undefined;
    if (error instanceof errors.JWTExpired) throw expired(endOf(error.payload), now);
    if (error instanceof errors.JWTClaimValidationFailed)
      throw invalid(
        `its claim ${error.claim} is ${error.reason === 'missing' ? 'missing' : 'not acceptable'}`,
      );
    throw invalid('it is not a JWT');
  }
}

function readOwnClaims(payload: JWTPayload): EnrolmentToken {
  const { sub, jti, iat, epoch } = payload;
  if (typeof sub !== 'string' || typeof jti !== 'string' || jti === '' || jti.length > 64)
    throw invalid('it lacks a claim');
  if (typeof iat !== 'number' || !Number.isSafeInteger(epoch)) throw invalid('it lacks a claim');
  const claims = { id: jti, epoch: epoch as number, issuedAt: iat * 1000, expiresAt: endOf(payload) };
  if (sub === FLEET_SUBJECT) return { kind: 'fleet', ...claims };
  const nodeName = sub.slice(NODE_SUBJECT.length);
  if (!sub.startsWith(NODE_SUBJECT) || !isNodeName(nodeName)) throw invalid('its subject is no node');
  return { kind: 'node', nodeName, ...claims };
}

function endOf({ exp }: JWTPayload): number {
  if (typeof exp !== 'number' || !(Math.abs(exp) <= MAX_SECONDS))
    throw invalid('its claim exp is not a time');
  return exp * 1000;
}

/**
 * Says when, and what this hub's clock says (requirement E7): most refusals of this kind are wrong clocks.
 */
function expired(expiresAt: number, now: number): SallyportError {
  return new SallyportError('TOKEN_EXPIRED', {
    expiredAt: new Date(expiresAt).toISOString(),
    now: new Date(now).toISOString(),
  });
}

function invalid(problem: string): SallyportError {
  return new SallyportError('TOKEN_INVALID', { problem });
}
