import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import { connect, type TLSSocket } from 'node:tls';
import type { ListenAddress } from '../../../src/contracts/listener.ts';
import type { Pair } from '../pki/pki.ts';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly text: string;
  readonly json: unknown;
}

export interface Call {
  readonly to: ListenAddress;
  readonly path: string;
  readonly ca: Pair;
  /** Client certificate. */
  readonly as?: Pair | undefined;
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: Uint8Array | string;
}

/** One HTTPS request over a connection of its own, verified against `ca`. */
export function call({ to, path, ca, as, method = 'GET', headers = {}, body }: Call): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const identity = as ? { cert: as.pem, key: as.key } : {};
    const length: Record<string, string> =
      body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    const outgoing = request(
      {
        host: to.host,
        port: to.port,
        path,
        method,
        ca: ca.pem,
        ...identity,
        headers: { ...length, ...headers },
        agent: false,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const all = Buffer.concat(chunks);
          const text = all.toString();
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: all,
            text,
            get json() {
              return JSON.parse(text);
            },
          });
        });
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** A TLS connection for bytes no HTTP client would send. */
export function rawConnection({
  to,
  ca,
  as,
}: {
  to: ListenAddress;
  ca: Pair;
  as?: Pair;
}): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const identity = as ? { cert: as.pem, key: as.key } : {};
    const socket = connect({ host: to.host, port: to.port, ca: ca.pem, ...identity }, () => resolve(socket));
    socket.once('error', reject);
  });
}

/** Everything the server sends until it ends the connection. */
export async function readToEnd(socket: TLSSocket): Promise<string> {
  let text = '';
  socket.on('error', () => {});
  socket.on('data', (chunk) => {
    text += chunk;
  });
  await new Promise<void>((resolve) => socket.once('close', () => resolve()));
  return text;
}
