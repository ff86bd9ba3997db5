import { createHash, timingSafeEqual, X509Certificate } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import { isNodeName } from '../protocol/node-name.ts';
import { createCertificateRequest } from './certificate-request.ts';
import { casOf, checkFresh, isIssuedBy } from './credentials.ts';
import { askHub, firstLine, type HubAnswer } from './hub-request.ts';
import type { EdgeCredentials } from './transports/transport.ts';

/** CAs a node believes at once: two of a rollover, and one of another that followed at once. */
const MAX_CAS = 3;

export interface EnrolOptions {
  /** `host:port` of the hub's HTTPS listener. */
  readonly address: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
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
 * check what came.
 * @throws TOKEN_INVALID, CA_MISMATCH, JOIN_REFUSED with the hub's own words, CONNECT_FAILED
 */
export async function joinFleet(
  node: string,
  token: string,
  options: EnrolOptions & { clock: Clock },
): Promise<EdgeCredentials> {
  if (!isNodeName(node)) throw new SallyportError('NODE_NAME_INVALID');
  const { caSha256, jwt } = parseJoinToken(token);
  const ca = await downloadCa(caSha256, options);
  const { key, csr } = createCertificateRequest(node);
  const answer = await askHub(
    {
      ...request(options),
      trust: { ca },
      headers: { NodeName: node, Authorization: `Bearer ${jwt}` },
      body: csr,
    },
    options.clock,
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
async function downloadCa(expected: Buffer, options: EnrolOptions & { clock: Clock }): Promise<string> {
  const answer = await askHub({ ...request(options), path: '/ca.crt', trust: 'unverified' }, options.clock);
  if (answer.status !== 200) throw refused(answer);
  const sha256 = createHash('sha256').update(answer.body).digest();
  if (!timingSafeEqual(sha256, expected)) throw new SallyportError('CA_MISMATCH', { hub: options.address });
  return new X509Certificate(answer.body).toString();
}

function request({ address, timeoutMs, signal }: EnrolOptions) {
  return { address, path: '/edge.crt', timeoutMs, ...(signal ? { signal } : {}) };
}

function readCertificate(answer: HubAnswer): string {
  if (answer.status !== 200) throw refused(answer);
  try {
    return new X509Certificate(answer.body).toString();
  } catch (cause) {
    throw new SallyportError('JOIN_REFUSED', { problem: 'its answer is not a certificate' }, cause);
  }
}

function refused({ status, body, retryAfterMs }: HubAnswer): SallyportError {
  const problem = firstLine(body.toString('utf8')) || `status ${status}`;
  return new SallyportError('JOIN_REFUSED', {
    problem,
    status,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

function refuse(problem: string | undefined): void {
  if (problem !== undefined) throw new SallyportError('JOIN_REFUSED', { problem });
}
