import { decodeRevocations } from '../../certs/revocation/revocation-codec.ts';
import type { RevocationReceipt } from '../../contracts/revocations.ts';
import { describeError } from '../../core/errors.ts';
import { reachable } from '../context.ts';
import { type Finding, failure, ok, skipped, warning } from './finding.ts';
import { httpsGet } from './https-get.ts';
import { type Patient, secretOf } from './patient.ts';

/** The stored list is in force on every replica that lives. */
export async function checkRevocations(patient: Patient): Promise<Finding[]> {
  const stored = secretOf(patient, patient.config.certificates.revocationSecret);
  if (!stored || !patient.gateway.up) return [];
  try {
    const { version } = decodeRevocations(stored);
    const { replicas } = await patient.gateway.admin.get<RevocationReceipt>('/api/v1/revocations/replicas');
    const behind = replicas.filter((one) => one.alive && one.version < version);
    if (behind.length === 0)
      return [ok('revocations', `version ${version} of the revocations is in force on every replica`)];
    return [
      warning('revocations', 'a replica enforces an older list of revocations', {
        detail: behind.map(({ replica, version }) => `${replica} has version ${version}`).join(', '),
        hint: 'it reads the list every 5 s: when this stays, see its log and its access to the store',
      }),
    ];
  } catch (error) {
    return [
      warning('revocations', 'the list of revocations cannot be compared', {
        detail: describeError(error),
        hint: 'see `sallyport revocations list`, and the log of the gateway',
      }),
    ];
  }
}

/** What others are handed as CRL is not about to end. Our own gate needs none. */
export async function checkCrl({ gateway, clock }: Patient): Promise<Finding[]> {
  if (!gateway.up) return [];
  const https = gateway.info.listeners.find(({ name }) => name === 'https');
  if (!https) return [skipped('crl', 'CRL', 'the HTTPS listener is off')];
  try {
    const target = { host: reachable(https.host), port: https.port, path: '/ca.crl' };
    const { status, body } = await httpsGet(target);
    if (status === 404)
      return [skipped('crl', 'CRL', 'none: this CA may not sign one (no key usage cRLSign)')];
    const { X509Crl } = await import('@peculiar/x509');
    const { nextUpdate } = new X509Crl(body);
    if (status !== 200 || nextUpdate === undefined) throw new Error(`status ${status}`);
    if (nextUpdate.getTime() > clock.now())
      return [ok('crl', 'the CRL is fresh', `until ${nextUpdate.toISOString()}`)];
    return [
      failure('crl', 'the CRL that is handed out has ended', {
        detail: `nextUpdate ${nextUpdate.toISOString()}`,
        hint: 'see the log of the gateway; revocations are enforced without it, but readers of the CRL refuse everybody',
      }),
    ];
  } catch (error) {
    return [
      warning('crl', 'the CRL cannot be read', {
        detail: describeError(error),
        hint: 'see the log of the gateway',
      }),
    ];
  }
}
