import type { X509Certificate } from 'node:crypto';
import { type AddressInfo, isIP } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';
import type { CertificateBundle } from '../contracts/certificate-source.ts';
import type { HandshakeRequest, HandshakeResult } from '../contracts/handshake.ts';
import type { BundleTrial } from '../contracts/listener.ts';
import { tellBound } from '../core/own-probe.ts';
import { CLIENT_AUTH, type TlsPolicy, tlsOptions } from './tls-options.ts';
import { trialReply } from './trial-reply.ts';

/** Serves `bundle` with the options of the real listeners on a loopback port, while `visit` lasts. */
export async function tryTlsBundle(
  bundle: CertificateBundle,
  { policy, alpn }: { policy: TlsPolicy; alpn?: string | undefined },
  visit: (trial: BundleTrial) => Promise<void>,
): Promise<void> {
  const sockets = new Set<TLSSocket>();
  const server = createServer(
    { ...tlsOptions(bundle, policy), ...CLIENT_AUTH, ...(alpn ? { ALPNProtocols: [alpn] } : {}) },
    (socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => sockets.delete(socket));
      socket.end(trialReply(socket.getPeerX509Certificate()?.raw));
    },
  );
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  try {
    await visit({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

/** How long a server may take to end a connection that the client has ended, milliseconds. */
const LINGER_MS = 1_000;

/** What OpenSSL says of dates: they are judged with the clock of the hub, where the bundle is built. */
const ABOUT_DATES = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID']);

/**
 * A handshake as an edge makes it that trusts this one CA and connects to this name.
 * @throws Error with what such an edge would say
 */
export function tlsHandshake(request: HandshakeRequest, alpn?: string): Promise<HandshakeResult> {
  const { host, port, name, ca, client, timeoutMs, awaitReply = false, onBound } = request;
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port,
      ca: [ca],
      ...(isIP(name) ? {} : { servername: name }),
      ...(client ? { cert: client.certificate, key: client.key } : {}),
      ...(alpn ? { ALPNProtocols: [alpn] } : {}),
      // Judged below, so that the certificate is seen whatever is wrong with it.
      rejectUnauthorized: false,
    });
    const timer = setTimeout(() => fail(new Error(`no handshake within ${timeoutMs} ms`)), timeoutMs);
    const fail = (error: Error) => {
      clearTimeout(timer);
      socket.destroy();
      reject(error);
    };
    tellBound(socket, onBound);
    socket.on('error', fail);
    socket.on('close', () => fail(new Error('the connection was closed')));
    socket.once('secureConnect', () => {
      const served = socket.getPeerX509Certificate();
      const problem = problemOf(socket, served, name);
      const reply: Buffer[] = [];
      const done = () => {
        clearTimeout(timer);
        socket.removeListener('close', done);
        resolve({
          ...(served ? { served } : {}),
          ...(problem === undefined ? {} : { problem }),
          reply: Buffer.concat(reply).toString(),
        });
        // In good order, so that the listener sees a client that came and went, and no handshake that failed.
        socket.end();
        socket.setTimeout(LINGER_MS, () => socket.destroy());
      };
      if (!awaitReply) return done();
      socket.on('data', (chunk: Buffer) => reply.push(chunk));
      socket.once('end', done);
    });
  });
}

function problemOf(
  { authorizationError }: TLSSocket,
  served: X509Certificate | undefined,
  name: string,
): string | undefined {
  const code = authorizationError instanceof Error ? authorizationError.message : authorizationError;
  if (code && !ABOUT_DATES.has(String(code))) return `a client does not verify it (${String(code)})`;
  // Names in the subject are no names (RFC 9525 section 6.3).
  const matched = isIP(name) ? served?.checkIP(name) : served?.checkHost(name, { subject: 'never' });
  return matched === undefined ? `the certificate is not for ${name}` : undefined;
}
