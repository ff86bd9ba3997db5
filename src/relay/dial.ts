import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import { WebSocket } from 'ws';
import type { UpstreamAuthority } from '../contracts/upstream-relay.ts';
import type { Clock } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import type { CloudCore } from './cloudcores.ts';
import type { NodeCertificates } from './node-certificates.ts';

/** For TCP, TLS and upgrade together; CloudCore answers in milliseconds or not at all. */
const DIAL_MS = 10_000;
/** CloudCore has no limit of its own. */
const MAX_PAYLOAD = 32 * 1024 * 1024;

export interface DialParts {
  readonly clock: Clock;
  readonly certificates: NodeCertificates;
  /** CAs that CloudCores may have loaded, the likeliest first. */
  readonly authorities: () => readonly UpstreamAuthority[];
}

export interface DialRequest {
  readonly node: string;
  readonly cloudcore: CloudCore;
  readonly to: 'hub' | 'tunnel';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

type TlsRequest = Pick<DialRequest, 'node' | 'cloudcore' | 'signal'> & { readonly to: Place };
type Place = DialRequest['to'] | 'https';

export interface Dialled {
  readonly socket: WebSocket;
  readonly stream: TLSSocket;
}

/** Opens a WebSocket to a CloudCore as a node. @throws UPSTREAM_REFUSED, and as {@link dialed} */
export function dial(parts: DialParts, request: DialRequest): Promise<Dialled> {
  return dialed(parts, request, (stream, { signal }) => upgrade(stream, { ...request, signal }));
}

/**
 * Does something over a TLS connection to a CloudCore as a node, in limited time. CloudCore trusts the one CA
 * it has loaded, so its own certificate says which CA ours has to be from.
 * @throws UPSTREAM_UNAVAILABLE, UPSTREAM_UNTRUSTED
 */
export async function dialed<T>(
  parts: DialParts,
  request: TlsRequest,
  use: (stream: TLSSocket, within: { readonly signal: AbortSignal }) => Promise<T>,
): Promise<T> {
  const { cloudcore } = request;
  const authorities = parts.authorities();
  const authority = authorities.find(
    ({ certificate }) => certificate.sha256 === cloudcore.verified?.caSha256,
  );
  const first = authority ?? authorities[0];
  if (!first)
    throw new SallyportError('UPSTREAM_UNAVAILABLE', { address: cloudcore.address, problem: 'no CA' });
  const deadline = new AbortController();
  const timer = parts.clock.setTimeout(() => deadline.abort(late(cloudcore)), DIAL_MS);
  const signal = AbortSignal.any([request.signal, deadline.signal]);
  try {
    return await use(await connectAs(parts, { ...request, signal }, first), { signal });
  } finally {
    timer.cancel();
  }
}

/**
 * OpenSSL completes the client's chain from the store of trusted CAs, and a CloudCore with authorization
 * refuses all but exactly one certificate, without a word. So the store stays empty, and what OpenSSL would
 * have checked is checked here, before a byte is sent.
 */
export async function connectAs(
  parts: DialParts,
  request: TlsRequest,
  authority: UpstreamAuthority,
  mayChange = true,
): Promise<TLSSocket> {
  const { cloudcore, node, signal } = request;
  const { host, port } = splitAddress(addressOf(cloudcore, request.to)!);
  const client = await parts.certificates.of(node, authority);
  const stream = connect({
    ...client,
    host,
    port,
    ...(isIP(host) ? {} : { servername: host }),
    ca: [],
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
  });
  // Whoever holds the socket later hears of errors by its close.
  stream.on('error', () => {});
  stream.setNoDelay(true);
  await settled(stream, 'secureConnect', { cloudcore, signal });
  // Node takes it out of the peer's chain: a second look finds none.
  const leaf = stream.getPeerX509Certificate();
  const problemWith = (by: UpstreamAuthority) =>
    problemOf(leaf, { verified: cloudcore.verified, host, authority: by, now: parts.clock.now() });
  const problem = problemWith(authority);
  if (problem === undefined) {
    cloudcore.verified = { leaf: leaf!.raw, caSha256: authority.certificate.sha256 };
    return stream;
  }
  const other = mayChange
    ? parts.authorities().find((one) => one !== authority && problemWith(one) === undefined)
    : undefined;
  stream.destroy();
  if (other) return connectAs(parts, request, other, false);
  throw new SallyportError('UPSTREAM_UNTRUSTED', { address: cloudcore.address, problem });
}

/** Why the certificate of a CloudCore is not good; undefined when it is. */
function problemOf(
  leaf: X509Certificate | undefined,
  request: Pick<CloudCore, 'verified'> & { host: string; authority: UpstreamAuthority; now: number },
): string | undefined {
  if (!leaf) return 'it showed no certificate';
  const { verified, host, authority, now } = request;
  const { der, sha256 } = authority.certificate;
  // Each node meets the same certificate, and its signature does not change.
  if (verified?.caSha256 !== sha256 || !leaf.raw.equals(verified.leaf)) {
    const ca = new X509Certificate(der);
    if (!leaf.checkIssued(ca) || !leaf.verify(ca.publicKey))
      return 'its certificate is not from the CA of upstream.caSecret';
  }
  if (leaf.ca) return 'its certificate is that of a CA';
  if (now < leaf.validFromDate.getTime()) return 'its certificate is not valid yet';
  if (now >= leaf.validToDate.getTime()) return 'its certificate has expired';
  const named = isIP(host) ? leaf.checkIP(host) : leaf.checkHost(host);
  return named === undefined ? `its certificate does not name ${host}` : undefined;
}

async function upgrade(stream: TLSSocket, request: DialRequest): Promise<Dialled> {
  const { cloudcore, path, headers, signal } = request;
  const socket = new WebSocket(`wss://${cloudcore.address}${path}`, {
    createConnection: () => stream,
    headers,
    perMessageDeflate: false,
    maxPayload: MAX_PAYLOAD,
    // The tunnel carries binary data in text frames; what CloudCore says is the edge's to judge.
    skipUTF8Validation: true,
  });
  socket.on('error', () => {});
  const refused = Promise.withResolvers<never>();
  refused.promise.catch(() => {});
  socket.once('unexpected-response', (_request, { statusCode }) => {
    stream.destroy();
    refused.reject(
      new SallyportError('UPSTREAM_REFUSED', { address: cloudcore.address, status: statusCode ?? 0 }),
    );
  });
  try {
    await Promise.race([settled(socket, 'open', { cloudcore, signal }), refused.promise]);
  } catch (error) {
    stream.destroy();
    throw error;
  }
  return { socket, stream };
}

/** Waits for the event; the end of the socket, or the signal, is a failure. */
function settled(
  emitter: TLSSocket | WebSocket,
  event: string,
  { cloudcore, signal }: { cloudcore: CloudCore; signal: AbortSignal },
): Promise<void> {
  const source = emitter as NodeJS.EventEmitter;
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void) => {
      source.off(event, onEvent).off('error', onError).off('close', onClose);
      signal.removeEventListener('abort', onAbort);
      settle();
    };
    const fail = (problem: string, cause?: unknown) =>
      finish(() =>
        reject(new SallyportError('UPSTREAM_UNAVAILABLE', { address: cloudcore.address, problem }, cause)),
      );
    const onEvent = () => finish(resolve);
    const onError = (error: NodeJS.ErrnoException) => fail(error.code ?? error.message, error);
    const onClose = () => fail('the connection was closed');
    const onAbort = () => {
      (emitter as { destroy?(): void; terminate?(): void }).destroy?.();
      (emitter as { terminate?(): void }).terminate?.();
      finish(() => reject(signal.reason));
    };
    if (signal.aborted) return onAbort();
    source.on(event, onEvent).on('error', onError).on('close', onClose);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** `host:port`; undefined when none is configured. */
export function addressOf(cloudcore: CloudCore, to: Place): string | undefined {
  if (to === 'hub') return cloudcore.address;
  return to === 'tunnel' ? cloudcore.tunnelAddress : cloudcore.httpsAddress;
}

function late({ address }: CloudCore): SallyportError {
  return new SallyportError('UPSTREAM_UNAVAILABLE', { address, problem: `no answer within ${DIAL_MS} ms` });
}

/** @param address `host:port`, IPv6 in brackets */
export function splitAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) };
}
