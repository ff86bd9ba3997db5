import { createPrivateKey, X509Certificate } from 'node:crypto';
import { CertificateAuthority } from '../certs/ca/certificate-authority.ts';
import { parseAdvertisedNames } from '../certs/x509/advertised-names.ts';
import type { Clock } from '../core/clock.ts';
import { describeError } from '../core/errors.ts';
import { HealthRegistry } from '../core/health.ts';
import type { Logger } from '../core/log.ts';
import { startStartupProbe } from '../listeners/https/startup-probe.ts';

/** Milliseconds. If a store answers at once, there is no time in which a probe would be missed. */
const PATIENCE_MS = 500;

interface Endpoint {
  readonly enabled: boolean;
  readonly host: string;
  readonly port: number;
}

/**
 * Runs `prepare`. If that takes longer than a moment, probes on the HTTPS port are told that the process
 * lives and is not ready (H2). The certificate that they see is made up and thrown away: it is nobody's
 * identity.
 */
export async function withStartupProbe<T>(
  { clock, log }: { clock: Clock; log: Logger },
  endpoint: Endpoint,
  prepare: () => Promise<T>,
): Promise<T> {
  let probe: Promise<() => Promise<void>> | undefined;
  const timer = clock.setTimeout(() => {
    if (!endpoint.enabled) return;
    probe = serveProbe(clock, endpoint);
    probe.catch((error) =>
      log.warn({ problem: describeError(error) }, 'no probe can be answered while starting'),
    );
  }, PATIENCE_MS);
  try {
    return await prepare();
  } finally {
    timer.cancel();
    await probe?.then(
      (stop) => stop(),
      () => {},
    );
  }
}

async function serveProbe(clock: Clock, { host, port }: Endpoint): Promise<() => Promise<void>> {
  const health = new HealthRegistry();
  health.register('ping', ['livez', 'readyz'], () => undefined);
  health.register('certificates', ['readyz'], () => {
    throw new Error('certificates are not prepared yet; the log of the gateway says what it waits for');
  });
  const throwAway = await CertificateAuthority.create({ clock }, { days: 1, subject: 'CN=starting' });
  const names = parseAdvertisedNames(['localhost']);
  const { certDer, keySec1Der } = await throwAway.issueServer({ names, days: 1, backdateMs: 0 });
  return startStartupProbe(health, {
    host,
    port,
    cert: new X509Certificate(certDer).toString(),
    key: createPrivateKey({ key: Buffer.from(keySec1Der), format: 'der', type: 'sec1' })
      .export({ type: 'pkcs8', format: 'pem' })
      .toString(),
  });
}
