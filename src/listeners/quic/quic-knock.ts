import type { KnockRequest } from '../../contracts/handshake.ts';
import { encodeHello, QUIC_ALPN, readQuicClose } from '../../protocol/quic-control.ts';
import { loadQuicLibrary, tellPort } from './native.ts';

/**
 * Says hello as an edge would and waits for an answer.
 * @returns 200 when the hub answers the hello, 401 when it refuses the client
 * @throws Error when there is no answer, or the session ends for another reason
 */
export async function knockQuic(request: KnockRequest): Promise<number> {
  const { host, port, client, node, timeoutMs } = request;
  const library = await loadQuicLibrary();
  const session = library.connectQuic(
    { address: host, port, servername: 'localhost' },
    {
      rejectUnauthorized: false,
      ...(client ? { cert: client.certificate, key: client.key } : {}),
      alpn: [QUIC_ALPN],
      allow0RTT: false,
      connectTimeoutMs: timeoutMs,
    },
  );
  void tellPort(session, request);
  let timer: NodeJS.Timeout | undefined;
  const answer = new Promise<number>((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    // The close that follows says why.
    session.on('error', () => {});
    session.on('close', ({ errorCode, reason }) => {
      const { word, detail } = readQuicClose(errorCode, reason);
      if (word !== undefined && word !== 'limit') resolve(401);
      else reject(new Error(detail || 'the connection was closed'));
    });
    session.ready().then(
      () => {
        // The hub's no may overtake the hello.
        const stream = session.openStream();
        stream.on('error', () => {});
        stream.on('data', () => resolve(200));
        stream.write(encodeHello({ node_id: node, project_id: 'self-test' }), () => {});
      },
      () => {},
    );
  });
  try {
    return await answer;
  } finally {
    clearTimeout(timer);
    await session.close(0, '');
  }
}
