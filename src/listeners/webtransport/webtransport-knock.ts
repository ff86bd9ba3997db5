import { connect } from 'node:http2';
import type { KnockRequest } from '../../contracts/handshake.ts';
import { tellBound } from '../../core/own-probe.ts';
import { WEBTRANSPORT_PATH } from '../../protocol/webtransport.ts';

/**
 * Asks for a session over HTTP/2 (RFC 8441) as an edge would.
 * @returns the status
 * @throws Error when there is no answer
 */
export function knockWebTransport(request: KnockRequest): Promise<number> {
  const { host, port, client, node, timeoutMs, onBound } = request;
  const connection = connect(`https://${host.includes(':') ? `[${host}]` : host}:${port}`, {
    rejectUnauthorized: false,
    ...(client ? { cert: client.certificate, key: client.key } : {}),
  });
  tellBound(connection.socket, onBound);
  return new Promise<number>((resolve, reject) => {
    connection.on('error', reject);
    connection.once('close', () => reject(new Error('the connection was closed')));
    connection.setTimeout(timeoutMs, () => reject(new Error('no answer in time')));
    connection.once('remoteSettings', () => {
      const stream = connection.request({
        ':method': 'CONNECT',
        ':protocol': 'webtransport',
        ':scheme': 'https',
        ':path': WEBTRANSPORT_PATH,
        node_id: node,
      });
      stream.on('error', reject);
      stream.once('response', (headers) => resolve(Number(headers[':status'])));
    });
  }).finally(() => connection.destroy());
}
