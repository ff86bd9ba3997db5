import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';

export interface HttpsTarget {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  /** Client certificate, PEM. */
  readonly cert?: string;
  readonly key?: string;
  /** Name for SNI; default: the host. */
  readonly servername?: string;
}

/** Largest body that is read, bytes. */
const MAX_BYTES = 1024 * 1024;
const TIMEOUT_MS = 5_000;

/**
 * Asks without verifying whom it asks: the doctor must tell "expired certificate" from "down", sends no
 * secret, and checks what it gets by other means.
 */
export function httpsGet({
  host,
  port,
  path,
  cert,
  key,
  servername,
}: HttpsTarget): Promise<{ status: number; headers: IncomingHttpHeaders; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const call = request(
      {
        host: host.replace(/[[\]]/g, ''),
        port,
        path,
        rejectUnauthorized: false,
        agent: false,
        timeout: TIMEOUT_MS,
        ...(cert && key ? { cert, key } : {}),
        ...(servername ? { servername } : {}),
      },
      (response) => {
        const chunks: Buffer[] = [];
        let length = 0;
        response.on('data', (chunk: Buffer) => {
          length += chunk.length;
          if (length > MAX_BYTES) response.destroy(new Error('the answer is too long'));
          else chunks.push(chunk);
        });
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks),
          }),
        );
      },
    );
    call.on('timeout', () =>
      call.destroy(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' })),
    );
    call.on('error', reject);
    call.end();
  });
}
