import { request } from 'node:https';
import { type OnBound, tellBound } from './own-probe.ts';

export interface HttpsServer {
  readonly host: string;
  readonly port: number;
  /** PEM. */
  readonly client?: { readonly certificate: string; readonly key: string };
  readonly timeoutMs: number;
  readonly onBound?: OnBound;
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
    call.once('socket', (socket) => tellBound(socket, onBound));
    call.on('upgrade', (_response, socket) => {
      socket.destroy();
      resolve(101);
    });
    call.on('timeout', () => call.destroy(new Error('no answer in time')));
    call.on('error', reject);
    call.end(body);
  });
}
