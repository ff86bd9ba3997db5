import { stat } from 'node:fs/promises';
import { readClientTrust } from '../../certs/bundle/certificate-bundle.ts';
import { readHubCertificate } from '../../certs/bundle/hub-certificate.ts';
import { CertificateAuthority } from '../../certs/ca/certificate-authority.ts';
import { decodeRollover } from '../../certs/ca/rollover-codec.ts';
import { decodeTokenState } from '../../certs/enrolment/token-state-codec.ts';
import { decodeRevocations } from '../../certs/revocation/revocation-codec.ts';
import type { Secret } from '../../contracts/secret-store.ts';
import type { Clock } from '../../core/clock.ts';
import { describeError, isSallyportError } from '../../core/errors.ts';
import { type Finding, failure, ok, skipped, warning } from './finding.ts';
import { type Patient, secretSettings } from './patient.ts';
import { storedIssuer } from './stored-cas.ts';

/** One line for the store; without it nothing else can be said of Secrets. */
export function storeReachable({ store, secrets }: Patient): Finding[] {
  const title = `the store can be read: ${store.location}`;
  const broken = [...secrets.values()].flatMap((one) => ('problem' in one ? [one.problem] : []));
  const down = broken.find((one) => isSallyportError(one, 'SECRET_STORE_UNAVAILABLE'));
  if (down === undefined) return [ok('store-reachable', title)];
  return [
    failure('store-reachable', `the store cannot be read: ${store.location}`, {
      detail: describeError(down),
      hint: 'check the address and the state of the store (secretStore.*); nothing is created while it is down',
    }),
  ];
}

type Read = (secret: Secret, clock: Clock) => unknown;

/** What makes each Secret whole: the code that a gateway reads it with. */
const READERS: Readonly<Record<string, Read>> = {
  'certificates.caSecret': (secret, clock) => CertificateAuthority.fromSecret(secret, { clock }),
  'certificates.hubSecret': readHubCertificate,
  'certificates.trustSecret': readClientTrust,
  'certificates.revocationSecret': decodeRevocations,
  'certificates.rolloverSecret': (secret, clock) => decodeRollover(secret, { clock }),
  'tokens.stateSecret': decodeTokenState,
  'tokens.fleetSecret': readFleetToken,
  'upstream.caSecret': (secret, clock) => CertificateAuthority.fromSecret(secret, { clock }),
};
/** Without these a gateway has never started here. */
const REQUIRED = new Set(['certificates.caSecret', 'certificates.hubSecret', 'upstream.caSecret']);

/** Each Secret a setting names is there and whole; a missing key is named. */
export function secretsWhole({ config, secrets, clock }: Patient): Finding[] {
  return secretSettings(config).map(({ setting, name }) => {
    const stored = secrets.get(name)!;
    const title = `Secret ${name}`;
    if ('problem' in stored) return unreadable(title, setting, stored.problem);
    if (!stored.secret)
      return REQUIRED.has(setting)
        ? failure('secret-whole', `${title} is missing`, {
            detail: `${setting} names it, and it is not there`,
            hint: 'a first start makes it (`sallyport serve` or `prepare-certs`); a fleet that exists needs it back from a backup',
          })
        : skipped('secret-whole', title, `not there (${setting}), and not needed now`);
    try {
      const read = READERS[setting];
      if (!read) return ok('secret-whole', `${title} is there`, setting);
      read(stored.secret, clock);
      return ok('secret-whole', `${title} is whole`, setting);
    } catch (error) {
      return failure('secret-whole', `${title} is not usable`, {
        detail: describeError(error),
        hint: isSallyportError(error) ? error.fix : 'correct the Secret',
      });
    }
  });
}

function unreadable(title: string, setting: string, problem: unknown): Finding {
  if (isSallyportError(problem, 'SECRET_STORE_UNAVAILABLE'))
    return skipped('secret-whole', title, 'the store cannot be read');
  return failure('secret-whole', `${title} cannot be read`, {
    detail: `${describeError(problem)} (${setting})`,
    hint: isSallyportError(problem) ? problem.fix : 'see the section Kubernetes permissions',
  });
}

function readFleetToken({ data }: Secret): void {
  if (!data.tokendata?.length) throw new Error('it lacks the key tokendata');
}

/** Keys in a folder are for its owner alone. */
export async function secretFiles({ config: { secretStore } }: Patient): Promise<Finding[]> {
  if (secretStore.kind !== 'directory') return [];
  const mode = await stat(secretStore.path).then(
    (folder) => folder.mode & 0o777,
    () => undefined,
  );
  if (mode === undefined) return [];
  const octal = mode.toString(8).padStart(4, '0');
  if ((mode & 0o077) === 0) return [ok('secret-files', 'the folder is its owner’s alone', octal)];
  return [
    warning('secret-files', 'others may look into the folder of Secrets', {
      detail: `${secretStore.path} has mode ${octal}`,
      hint: `chmod 700 ${secretStore.path}`,
    }),
  ];
}

/** What is stored is what the gateway uses. */
export function storeDrift(patient: Patient): Finding[] {
  const { gateway } = patient;
  if (!gateway.up) return [];
  const { problem, certificates } = gateway.certificates;
  if (problem !== undefined)
    return [
      failure('store-drift', 'the newest Secrets are not in use', {
        detail: problem,
        hint: 'correct the Secret; until then the last good bundle stays in use',
      }),
    ];
  const mine = storedIssuer(patient)?.sha256;
  const theirs = certificates.find(({ kind }) => kind === 'ca')?.sha256;
  if (mine !== undefined && theirs !== undefined && mine !== theirs)
    return [
      failure('store-drift', 'the gateway uses another CA than the one stored here', {
        detail: `stored ${mine}, in use ${theirs}`,
        hint: 'check that --config and --admin mean the same gateway; else restore the Secret of the CA',
      }),
    ];
  return [ok('store-drift', 'the gateway uses what is stored')];
}
