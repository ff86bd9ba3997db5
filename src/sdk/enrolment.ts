import { createHash, timingSafeEqual, X509Certificate } from 'node:crypto';
import { backoffDelayMs } from '../core/backoff.ts';
import type { Clock } from '../core/clock.ts';
import { type ErrorDetails, isSallyportError, SallyportError } from '../core/errors.ts';
import { isNodeName } from '../protocol/node-name.ts';
import { fixOf } from '../protocol/rejection-reasons.ts';
import { createCertificateRequest } from './certificate-request.ts';
import { casOf, checkFresh, isIssuedBy } from './credentials.ts';
import { askHub, firstLine, type HubAnswer, type HubRequest } from './hub-request.ts';
import type { EdgeCredentials } from './transports/transport.ts';

/** How long a join waits until it asks again, or adds to the time that a busy hub names. */
const AGAIN = { minMs: 1_000, maxMs: 60_000 };
/** CAs a node believes at once: two of a rollover, and one of another that followed at once. */
const MAX_CAS = 3;
const NOT_FOR_JOINING = 'give the port of the HTTPS listener, which is 10002 by default';

export interface EnrolOptions {
  /** `host:port` of the hub's HTTPS listener. */
  readonly address: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/** How a join waits where waiting can help. */
export interface JoinPatience {
  /** Source of randomness in [0, 1). */
  readonly random: () => number;
  /** Told of each wait, milliseconds, and of its reason: the hub's line, or why it cannot be reached. */
  readonly onWait?: (delayMs: number, problem: string) => void;
}

export interface JoinToken {
  /** SHA-256 of the DER of the hub's CA. */
  readonly caSha256: Buffer;
  /** The three parts of the JWT; the only part that is ever sent. */
  readonly jwt: string;
}

/** Splits `<hex sha256 of the CA>.<JWT>` (docs/protocol.md, Tokens). @throws TOKEN_INVALID */
export function parseJoinToken(token: string): JoinToken {
  const [hash, ...jwt] = token.trim().split('.');
  if (!/^[0-9a-f]{64}$/i.test(hash ?? '') || jwt.length !== 3 || jwt.includes(''))
    throw new SallyportError('TOKEN_INVALID', { problem: 'it is not a CA hash and a JWT joined by a dot' });
  return { caSha256: Buffer.from(hash!, 'hex'), jwt: jwt.join('.') };
}

/**
 * Joins a fleet in named steps: take the CA and hold it against the token, make a key, have it certified,
 * check what came. It waits where that can help, until the signal ends it.
 * @throws TOKEN_INVALID, CA_MISMATCH, JOIN_REFUSED with the hub's own words
 */
export async function joinFleet(
  node: string,
  token: string,
  options: EnrolOptions & JoinPatience & { clock: Clock },
): Promise<EdgeCredentials> {
  if (!isNodeName(node)) throw new SallyportError('NODE_NAME_INVALID');
  const { caSha256, jwt } = parseJoinToken(token);
  const ca = await downloadCa(caSha256, options);
  const { key, csr } = createCertificateRequest(node);
  const answer = await askPatiently(
    {
      ...request(options),
      trust: { ca },
      headers: { NodeName: node, Authorization: `Bearer ${jwt}` },
      body: csr,
    },
    options,
  );
  const credentials = { node, ca, key, certificate: readCertificate(answer) };
  refuse(checkFresh(credentials, options.clock.now()));
  if (!isIssuedBy(credentials.certificate, ca))
    refuse('the certificate was not issued by the CA of the token');
  return credentials;
}

/**
 * A new key and certificate for a node that has one, over mutual TLS and without a token.
 * @throws JOIN_REFUSED with the hub's own words, CONNECT_FAILED
 */
export async function renewCertificate(
  present: EdgeCredentials,
  options: EnrolOptions & { clock: Clock },
): Promise<EdgeCredentials> {
  const { key, csr } = createCertificateRequest(present.node);
  const answer = await askHub(
    {
      ...request(options),
      trust: { ca: present.ca },
      credentials: present,
      headers: { NodeName: present.node },
      body: csr,
    },
    options.clock,
  );
  const renewed = { ...present, key, certificate: readCertificate(answer) };
  refuse(checkFresh(renewed, options.clock.now()));
  return { ...renewed, ca: await trustAfter(renewed, present, options) };
}

/**
 * The CAs to verify the hub with from now on. A certificate of a CA this node does not know means that the
 * fleet rolls over: the new CA is fetched over a connection that the CAs known so far vouch for, must have
 * issued the certificate, and is believed beside them until the CA has issued twice in a row.
 * @throws JOIN_REFUSED when no CA that can be believed has issued it, CONNECT_FAILED
 */
async function trustAfter(
  renewed: EdgeCredentials,
  present: EdgeCredentials,
  options: EnrolOptions & { clock: Clock },
): Promise<string> {
  const cas = casOf(present);
  const issuer = cas.find((ca) => isIssuedBy(renewed.certificate, ca.toString()));
  if (issuer) {
    const isSettled = issuer === cas[0] && isIssuedBy(present.certificate, issuer.toString());
    return isSettled ? issuer.toString() : inOrder([issuer, ...cas]);
  }
  const answer = await askHub(
    { ...request(options), path: '/ca.crt', trust: { ca: present.ca } },
    options.clock,
  );
  const fetched = readCertificate(answer);
  if (!isIssuedBy(renewed.certificate, fetched))
    refuse('the new certificate was issued neither by a CA this node knows nor by the one the hub hands out');
  return inOrder([new X509Certificate(fetched), ...cas]);
}

/** Each CA once, as many as a node ever needs. */
function inOrder(cas: readonly X509Certificate[]): string {
  return [...new Set(cas.map(String))].slice(0, MAX_CAS).join('');
}

/**
 * TLS cannot be verified yet, so the bytes themselves are: against the hash that came with the token, by
 * another way.
 */
async function downloadCa(
  expected: Buffer,
  options: EnrolOptions & JoinPatience & { clock: Clock },
): Promise<string> {
  const answer = await askPatiently({ ...request(options), path: '/ca.crt', trust: 'unverified' }, options);
  // Only a listener for connections asks for a certificate here.
  if (answer.word === 'no-certificate')
    throw joinRefused(`${options.address} is not the address for joining`, { remedy: NOT_FOR_JOINING });
  if (answer.status !== 200) throw refused(answer);
  const sha256 = createHash('sha256').update(answer.body).digest();
  if (!timingSafeEqual(sha256, expected)) throw new SallyportError('CA_MISMATCH', { hub: options.address });
  return new X509Certificate(answer.body).toString();
}

/**
 * Asks again while waiting can help: the hub cannot be reached, it says when to come back (429, 503), or the
 * node is quarantined, which is meant to be lifted. Many nodes behind one address are told the same time, and
 * one of them gets the place that is free then: so each adds more of its own with each attempt.
 */
async function askPatiently(
  hubRequest: HubRequest,
  { clock, random, onWait, signal }: EnrolOptions & JoinPatience & { clock: Clock },
): Promise<HubAnswer> {
  for (let attempt = 0; ; attempt++) {
    const answer = await askHub(hubRequest, clock).catch((error: unknown) => {
      if (isSallyportError(error, 'CONNECT_FAILED')) return error;
      throw error;
    });
    const isUnreachable = answer instanceof SallyportError;
    if (!isUnreachable && !asksToWait(answer)) return answer;
    const hintMs = isUnreachable ? 0 : (answer.retryAfterMs ?? 0);
    const delayMs = hintMs + backoffDelayMs(attempt, { ...AGAIN, random });
    onWait?.(delayMs, isUnreachable ? answer.message : lineOf(answer));
    await clock.sleep(delayMs, signal);
  }
}

function asksToWait({ status, retryAfterMs, word }: HubAnswer): boolean {
  return word === 'quarantined' || ((status === 429 || status === 503) && retryAfterMs !== undefined);
}

function request({ address, timeoutMs, signal }: EnrolOptions) {
  return { address, path: '/edge.crt', timeoutMs, ...(signal ? { signal } : {}) };
}

function readCertificate(answer: HubAnswer): string {
  if (answer.status !== 200) throw refused(answer);
  try {
    return new X509Certificate(answer.body).toString();
  } catch (cause) {
    throw joinRefused('its answer is not a certificate', {}, cause);
  }
}

function refused(answer: HubAnswer): SallyportError {
  const { status, word, retryAfterMs } = answer;
  return joinRefused(lineOf(answer), {
    remedy: (word && fixOf(word)) || 'do what the hub says',
    status,
    ...(word === undefined ? {} : { word }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

function lineOf({ status, body }: HubAnswer): string {
  return firstLine(body.toString('utf8')) || `status ${status}`;
}

function refuse(problem: string | undefined): void {
  if (problem !== undefined) throw joinRefused(problem);
}

function joinRefused(problem: string, details: ErrorDetails = {}, cause?: unknown): SallyportError {
  // By default for an answer that no hub of ours gives.
  const remedy = 'check that the address is that of the hub, and that nothing between answers for it';
  return new SallyportError('JOIN_REFUSED', { problem, remedy, ...details }, cause);
}
