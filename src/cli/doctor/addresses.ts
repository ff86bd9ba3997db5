import { lookup } from 'node:dns/promises';
import { checkHubCertificate, readHubCertificate } from '../../certs/bundle/hub-certificate.ts';
import { CertificateAuthority } from '../../certs/ca/certificate-authority.ts';
import { parseAdvertisedNames } from '../../certs/x509/advertised-names.ts';
import { namesOf } from '../../certs/x509/certificate-names.ts';
import { describeError, isSallyportError } from '../../core/errors.ts';
import { type Finding, failure, ok, skipped, warning } from './finding.ts';
import { type Patient, secretOf } from './patient.ts';

const LOOKUP_MS = 3_000;

/** Every address that edges are told is among the names of the hub certificate. */
export function checkNames(patient: Patient): Finding[] {
  const { config, clock } = patient;
  const { addresses } = config.advertise;
  const stored = secretOf(patient, config.certificates.hubSecret);
  const caSecret = secretOf(patient, config.certificates.caSecret);
  if (!stored || !caSecret) return [skipped('hub-names', 'advertised addresses', 'a Secret is missing')];
  try {
    const names = parseAdvertisedNames(addresses);
    const hub = readHubCertificate(stored);
    const anchors = CertificateAuthority.fromSecret(caSecret, patient).all;
    checkHubCertificate(hub, { anchors, names, now: clock.now() });
    return [ok('hub-names', 'the hub certificate names every address', namesOf(hub.leaf).join(', '))];
  } catch (error) {
    if (isSallyportError(error, 'BUNDLE_INVALID') && error.details.reason === 'names')
      return [
        failure('hub-names', 'an advertised address is not covered', {
          detail: `${describeError(error)}; edges that use it refuse the hub`,
          hint: config.certificates.hubSecretManaged
            ? 'a running gateway adds it within seconds: reload it; else `sallyport prepare-certs`'
            : 'add it where the certificate is kept (dnsNames, ipAddresses of cert-manager)',
        }),
      ];
    if (isSallyportError(error, 'ADDRESS_INVALID'))
      return [
        failure('hub-names', 'an advertised address is no address', {
          detail: error.message,
          hint: error.fix,
        }),
      ];
    return [skipped('hub-names', 'advertised addresses', 'the hub certificate is not usable')];
  }
}

/** What edges are told to connect to can be resolved, seen from here. */
export async function checkResolves({ config }: Patient): Promise<Finding[]> {
  let dns: readonly string[];
  try {
    dns = parseAdvertisedNames(config.advertise.addresses).dns.filter((name) => !name.startsWith('*'));
  } catch {
    return []; // said above
  }
  return Promise.all(
    dns.map(async (name) => {
      try {
        const found = await Promise.race([
          lookup(name, { all: true }),
          new Promise<never>((_, reject) =>
            setTimeout(() => reject(new Error('no answer in time')), LOOKUP_MS).unref(),
          ),
        ]);
        return ok('name-resolves', `${name} resolves`, found.map(({ address }) => address).join(', '));
      } catch (error) {
        return warning('name-resolves', `${name} does not resolve here`, {
          detail: describeError(error),
          hint: 'harmless when edges have another DNS; else add the record, or take it out of advertise.addresses',
        });
      }
    }),
  );
}
