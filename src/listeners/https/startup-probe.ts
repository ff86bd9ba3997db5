import { createServer } from 'node:https';
import type { HealthRegistry } from '../../core/health.ts';
import { healthReport, parseHealthQuery } from '../../core/health-report.ts';
import { listenFailed } from '../../core/listen-failed.ts';

export interface StartupProbeOptions {
  readonly host: string;
  readonly port: number;
  /** PEM, of a throw-away CA: probes of an orchestrator do not verify, and nothing but health is told. */
  readonly cert: string;
  readonly key: string;
}

/**
 * Answers `/livez` and `/readyz` on the HTTPS port while there are no certificates to serve with, so that an
 * orchestrator neither kills a gateway that waits for its Secrets nor sends it traffic (requirement H2).
 * Everything else is 503.
 * @returns the function that frees the port again
 * @throws LISTEN_FAILED
 */
export async function startStartupProbe(
  health: HealthRegistry,
  options: StartupProbeOptions,
): Promise<() => Promise<void>> {
  const { host, port, cert, key } = options;
  const server = createServer(
    { cert, key, requestTimeout: 5_000, headersTimeout: 5_000 },
    async (request, response) => {
      const url = new URL(request.url ?? '/', 'https://probe');
      const path = /^\/(livez|readyz|healthz)$/.exec(url.pathname)?.[1];
      response.setHeader('connection', 'close');
      if (path === undefined) {
        response
          .writeHead(503, { 'content-type': 'text/plain', 'retry-after': '5' })
          .end('the gateway is starting\n');
        return;
      }
      const query = parseHealthQuery({
        verbose: url.searchParams.get('verbose') ?? undefined,
        exclude: url.searchParams.getAll('exclude'),
      });
      const { status, body } = await healthReport(health, path as 'livez', query);
      response.writeHead(status, { 'content-type': 'text/plain' }).end(body);
    },
  );
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(listenFailed('https', { host, port }, cause)));
    server.listen(port, host, resolve);
  });
  return () =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
}
