import { isIP } from 'node:net';
import type { HandshakeRequest, HandshakeResult } from '../../contracts/handshake.ts';
import { QUIC_ALPN } from '../../protocol/quic-control.ts';
import { loadQuicLibrary, tellPort } from './native.ts';

/**
 * A QUIC handshake as an edge makes it. The library verifies chain and name and shows the certificate to
 * nobody, so `served` stays undefined; it can check DNS names only, and for an IP address the handshake alone
 * is tried.
 * @throws Error with what such an edge would say
 */
export async function quicHandshake(request: HandshakeRequest): Promise<HandshakeResult> {
  const { host, port, name, ca, client, timeoutMs, awaitReply = false } = request;
  const library = await loadQuicLibrary();
  // `host` is looked up where it is a name, as in the SDK; `address` would have to be an IP address.
  const session = library.connectQuic(
    { host, port, servername: isIP(name) ? 'localhost' : name },
    {
      ca,
      rejectUnauthorized: isIP(name) === 0,
      ...(client ? { cert: client.certificate, key: client.key } : {}),
      alpn: [QUIC_ALPN],
      allow0RTT: false,
      connectTimeoutMs: timeoutMs,
    },
  );
  session.on('error', () => {});
  void tellPort(session, request);
  let timer: NodeJS.Timeout | undefined;
  let reply = '';
  const closed = new Promise<void>((resolve) =>
    session.on('close', ({ errorCode, reason }) => {
      if (errorCode === 0) reply = reason ?? '';
      resolve();
    }),
  );
  try {
    // The library says so two turns of the event loop late. A trial server answers at once, and only whom it
    // has shaken hands with: on a busy machine the answer comes first, and the library gives up.
    await session.ready().catch((error) => {
      if (reply === '') throw error;
    });
    if (!awaitReply) return { reply: '' };
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    });
    await Promise.race([closed, late]);
    return { reply };
  } finally {
    clearTimeout(timer);
    await session.close(0, '');
  }
}
