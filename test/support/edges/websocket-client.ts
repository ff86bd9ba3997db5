import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { type ClientOptions, WebSocket } from 'ws';
import type { Pair } from '../pki/pki.ts';

const PROJECT = 'e632aba927ea4ac2b575ec1603d56f10';

export interface EdgeSocketOptions {
  readonly ca: Pair;
  readonly edge?: Pair | undefined;
  readonly node: string;
  readonly path?: string;
  readonly headers?: Record<string, string | string[]>;
  readonly client?: ClientOptions;
  readonly protocols?: string[];
}

export type EdgeSocket =
  | { readonly open: true; readonly socket: WebSocket; readonly servedSha256: string }
  | {
      readonly open: false;
      readonly status: number | undefined;
      readonly reason: string | undefined;
      readonly retryAfter: string | undefined;
      readonly body: string;
    };

/** Connects as EdgeCore does. Resolves either way. */
export function edgeSocket(port: number, options: EdgeSocketOptions): Promise<EdgeSocket> {
  const { ca, edge, node, path = `/${PROJECT}/${node}/events`, headers, client, protocols = [] } = options;
  const socket = new WebSocket(`wss://127.0.0.1:${port}${path}`, protocols, {
    ca: ca.pem,
    ...(edge ? { cert: edge.pem, key: edge.key } : {}),
    headers: { node_id: node, project_id: PROJECT, ConnectionUse: 'msg', ...headers },
    ...client,
  });
  let servedSha256 = '';
  return new Promise((resolve) => {
    socket.on('error', () => {
      resolve({ open: false, status: undefined, reason: undefined, retryAfter: undefined, body: '' });
    });
    socket.on('upgrade', (response: IncomingMessage) => {
      const certificate = (response.socket as TLSSocket).getPeerX509Certificate();
      servedSha256 = certificate ? createHash('sha256').update(certificate.raw).digest('hex') : '';
    });
    socket.on('open', () => resolve({ open: true, socket, servedSha256 }));
    socket.on('unexpected-response', async (_request, response: IncomingMessage) => {
      let body = '';
      for await (const chunk of response) body += String(chunk);
      const text = (value: unknown) => (typeof value === 'string' ? value : undefined);
      resolve({
        open: false,
        status: response.statusCode,
        reason: text(response.headers['sallyport-reason']),
        retryAfter: text(response.headers['retry-after']),
        body,
      });
    });
  });
}
