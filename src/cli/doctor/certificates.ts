import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { buildBundle, readClientTrust } from '../../certs/bundle/certificate-bundle.ts';
import { isManaged, renewalDueAt } from '../../certs/bundle/hub-secret.ts';
import { adminFiles } from '../../certs/ca/admin-certificate.ts';
import { oneLine } from '../../certs/x509/certificate-names.ts';
import { sha256Hex } from '../../certs/x509/certificate-signer.ts';
import { describeError } from '../../core/errors.ts';
import { shortDuration } from '../output.ts';
import { type CheckId, type Finding, failure, ok, skipped, warning } from './finding.ts';
import { type Patient, secretOf } from './patient.ts';
import { storedCas } from './stored-cas.ts';

const DAY_MS = 86_400_000;
/** Of a CA; the metric escalates at the same (requirement C5). */
const CA_LOW_MS = 180 * DAY_MS;
const CA_CRITICAL_MS = 7 * DAY_MS;
const ADMIN_LOW_MS = 30 * DAY_MS;

/** Key and certificate of the CA match, it may sign, and it lives; in a rollover so does the other one. */
export function checkCa(patient: Patient): Finding[] {
  const now = patient.clock.now();
  try {
    const cas = storedCas(patient);
    if (!cas) return [skipped('ca', 'CA', 'its Secret is missing')];
    const { issuing, partner } = cas.roles;
    const { phase } = cas.rollover;
    const ca = issuing.certificate;
    const found = life('ca', `CA ${oneLine(ca.subject)}`, {
      leftMs: ca.notAfter.getTime() - now,
      lowMs: CA_LOW_MS,
      criticalMs: CA_CRITICAL_MS,
      detail: `sha256 ${ca.sha256}`,
      hint:
        phase === 'idle'
          ? 'roll over to a new CA with `sallyport ca rollover prepare` while every node still accepts this one'
          : `go on with the rollover: \`sallyport ca rollover status\` says what is next`,
    });
    if (!partner) return [found];
    const other = life('ca', `CA ${oneLine(partner.subject)} of the rollover (${phase})`, {
      leftMs: partner.validToDate.getTime() - now,
      // What little life it has is why it is being left.
      lowMs: 0,
      criticalMs: 0,
      detail: `sha256 ${sha256Hex(partner.raw)}`,
      hint: 'its nodes have to renew: `sallyport ca rollover status` says which',
    });
    return [found, other];
  } catch (error) {
    return [
      failure('ca', 'the CA is not usable', {
        detail: describeError(error),
        hint: 'restore the Secret from a backup; Sallyport never replaces a CA by itself',
      }),
    ];
  }
}

/** Key, chain, dates and usage of the hub certificate, as a client would look at it. */
export function checkHub(patient: Patient): Finding[] {
  const { config, clock } = patient;
  const stored = secretOf(patient, config.certificates.hubSecret);
  const caSecret = secretOf(patient, config.certificates.caSecret);
  if (!stored || !caSecret) return [skipped('hub-certificate', 'hub certificate', 'a Secret is missing')];
  const managed = isManaged(stored, config.certificates);
  try {
    const { issuing: ca, ...others } = storedCas(patient)!.roles;
    const trust = readClientTrust(secretOf(patient, config.certificates.trustSecret));
    // As the gateway judges it.
    const parts = { ca, ...others, trust, hub: stored, names: { dns: [], ips: [] } };
    const { server } = buildBundle({ ...parts, now: clock.now() });
    const due = renewalDueAt(server, ca.certificate, config.certificates);
    const left = shortDuration(server.notAfter.getTime() - clock.now());
    // A day for the replica that renews; what comes later than that does not come by itself.
    if (clock.now() > due + DAY_MS)
      return [
        warning('hub-certificate', `the hub certificate should have been renewed, ${left} are left`, {
          detail: `it was due at ${new Date(due).toISOString()}`,
          hint: managed
            ? '`sallyport certs rotate hub`, and see the log for why it was not renewed'
            : 'renew it where it is kept (cert-manager)',
        }),
      ];
    return [ok('hub-certificate', `the hub certificate is good for ${left}`, `serial ${server.serial}`)];
  } catch (error) {
    return [
      failure('hub-certificate', 'the hub certificate is not usable', {
        detail: describeError(error),
        hint: managed
          ? '`sallyport prepare-certs` (or a start) issues a new one from the CA'
          : 'renew it where it is kept (cert-manager)',
      }),
    ];
  }
}

/** The CAs of nodes besides our own. */
export function checkTrust(patient: Patient): Finding[] {
  const stored = secretOf(patient, patient.config.certificates.trustSecret);
  if (!stored) return [];
  try {
    return readClientTrust(stored).map((ca) =>
      life('trust', `trusted CA ${oneLine(ca.subject)}`, {
        leftMs: ca.validToDate.getTime() - patient.clock.now(),
        lowMs: ADMIN_LOW_MS,
        criticalMs: 0,
        detail: `sha256 ${ca.fingerprint256.replaceAll(':', '').toLowerCase()}`,
        hint: 'let its nodes renew, then take it out of the trust Secret',
      }),
    );
  } catch (error) {
    return [
      failure('trust', 'the trust Secret is not usable', {
        detail: describeError(error),
        hint: 'store each CA as PEM or DER, one a key',
      }),
    ];
  }
}

/** The certificate the command line speaks to the gateway with, where it is a file. */
export async function checkAdminCertificate({ config, clock, gateway }: Patient): Promise<Finding[]> {
  if (config.secretStore.kind !== 'directory') return [];
  const path = adminFiles(config.secretStore.path).cert;
  const pem = await readFile(path, 'utf8').catch(() => undefined);
  if (pem === undefined) {
    if (gateway.up) return [skipped('admin-certificate', 'admin certificate', `none at ${path}`)];
    return [skipped('admin-certificate', 'admin certificate', `none at ${path}; a start makes it`)];
  }
  return [
    life('admin-certificate', 'admin certificate', {
      leftMs: new X509Certificate(pem).validToDate.getTime() - clock.now(),
      lowMs: ADMIN_LOW_MS,
      criticalMs: 0,
      detail: path,
      hint: 'a gateway that runs renews it daily; start it, or see its log',
    }),
  ];
}

interface Life {
  readonly leftMs: number;
  readonly lowMs: number;
  readonly criticalMs: number;
  readonly detail: string;
  readonly hint: string;
}

function life(check: CheckId, what: string, { leftMs, lowMs, criticalMs, detail, hint }: Life): Finding {
  if (leftMs <= 0) return failure(check, `${what} expired ${shortDuration(-leftMs)} ago`, { detail, hint });
  const title = `${what}: ${shortDuration(leftMs)} left`;
  if (leftMs < criticalMs) return failure(check, title, { detail, hint });
  return leftMs < lowMs ? warning(check, title, { detail, hint }) : ok(check, title, detail);
}
