/**
 * A stand-in for KubeEdge's CloudCore, to try the relay without KubeEdge: it takes the CA of the gateway's
 * folder of Secrets, as CloudCore takes `casecret`, and answers nodes as CloudCore does.
 *
 *   SALLYPORT_SECRET_STORE_PATH=certs-dev CLOUDCORE_NAMES=localhost node examples/cloudcore/cloudcore.ts
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { CertificateAuthority } from '../../src/certs/ca/certificate-authority.ts';
import { parseAdvertisedNames } from '../../src/certs/x509/advertised-names.ts';
import { loadConfig } from '../../src/config/load.ts';
import { systemClock as clock } from '../../src/core/clock.ts';
import { silentLogger as log } from '../../src/core/log.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import { openSecretStore } from '../../src/secrets/open-secret-store.ts';
import { FakeApi } from '../../test/support/cloudcore/fake-api.ts';
import { FakeCloudCore } from '../../test/support/cloudcore/fake-cloudcore.ts';

const { env } = process;
const { config } = loadConfig({ env: { SALLYPORT_SECRET_STORE_PATH: env.SALLYPORT_SECRET_STORE_PATH } });
const store = await openSecretStore(
  { clock, log, metrics: createMetrics({ process: false }) },
  config.secretStore,
);
let secret = await store.get(config.certificates.caSecret).catch(() => undefined);
while (!secret) {
  await new Promise((resolve) => setTimeout(resolve, 500));
  secret = await store.get(config.certificates.caSecret).catch(() => undefined);
}
await store.close();

const ca = CertificateAuthority.fromSecret(secret, { clock });
const names = parseAdvertisedNames((env.CLOUDCORE_NAMES ?? 'localhost').split(','));
const { certDer, keySec1Der } = await ca.issueServer({ names, days: 30, backdateMs: 60_000 });
const key = createPrivateKey({ key: Buffer.from(keySec1Der), format: 'der', type: 'sec1' });
const cloudcore = await new FakeCloudCore({
  ca: { certificate: new X509Certificate(ca.certificate.der) },
  server: {
    pem: new X509Certificate(certDer).toString(),
    key: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
  },
  api: new FakeApi(),
  authorization: true,
  host: env.CLOUDCORE_HOST ?? '127.0.0.1',
  ports: {
    events: Number(env.CLOUDCORE_PORT ?? 10_000),
    tunnel: Number(env.CLOUDCORE_TUNNEL_PORT ?? 10_004),
  },
}).start();
console.log('a stand-in for CloudCore is ready');

let shown = '';
setInterval(() => {
  const nodes = cloudcore.nodes.join(', ') || 'none';
  if (nodes !== shown) console.log(`nodes: ${nodes}`);
  shown = nodes;
}, 500);
process.once('SIGTERM', () => process.exit(0));
