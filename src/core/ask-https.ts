import { request } from 'node:https';

export interface HttpsServer {
  readonly host: string;
  readonly port: number;
  /** PEM. */
  readonly client?: { readonly certificate: string; readonly key: string };
  readonly timeoutMs: number;
  /** Told where the connection comes from, before anything is sent over it. */
  readonly onBound?: (from: { readonly host: string; readonly port: number }) => void;
}

export interface HttpsRequest {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

/**
 * Asks a server without verifying it; only for what may be told to anybody.
 * @returns the status, 101 for an upgrade
 * @throws Error when there is no answer
 */
export function askHttps(
  { host, port, client, timeoutMs, onBound }: HttpsServer,
  { body, ...options }: HttpsRequest,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const call = request(
      {
        host,
        port,
        rejectUnauthorized: false,
        agent: false,
        timeout: timeoutMs,
        ...options,
        ...(client ? { cert: client.certificate, key: client.key } : {}),
      },
      (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      },
    );
    call.once('socket', (socket) => {
      socket.once('connect', () => onBound?.({ host: socket.localAddress!, port: socket.localPort! }));
    });
    call.on('upgrade', (_response, socket) => {
      socket.destroy();
      resolve(101);
    });
    call.on('timeout', () => call.destroy(new Error('no answer in time')));
    call.on('error', reject);
    call.end(body);
  });
}
