import type { X509Certificate } from 'node:crypto';
import type { CertificateBundle } from '../contracts/certificate-source.ts';
import type { Secret, SecretSnapshot } from '../contracts/secret-store.ts';
import { type BackoffOptions, retry } from '../core/backoff.ts';
import { describeError, isSallyportError, SallyportError } from '../core/errors.ts';
import { SharedRecord } from '../core/shared-record.ts';
import { buildBundle, readClientTrust } from './bundle/certificate-bundle.ts';
import type { CertificateComponents } from './bundle/certificate-components.ts';
import { ensureHubSecret, type HubSecretOptions } from './bundle/hub-secret.ts';
import { type CaParts, type CaRoles, resolveCaRoles } from './ca/ca-roles.ts';
import { CertificateAuthority } from './ca/certificate-authority.ts';
import { decodeRollover } from './ca/rollover-codec.ts';
import { type AdvertisedNames, parseAdvertisedNames } from './x509/advertised-names.ts';

/** Section `certificates` of the configuration, as far as it is needed here. */
export interface CertificateOptions extends HubSecretOptions {
  readonly caSecret: string;
  readonly trustSecret: string;
  readonly rolloverSecret: string;
  readonly caDays: number;
}

export interface PrepareOptions {
  readonly certificates: CertificateOptions;
  /** `advertise.addresses` */
  readonly addresses: readonly string[];
  /** Pauses between attempts to reach the store; 0.2–10 s by default. */
  readonly retry?: BackoffOptions;
}

/** What a running gateway begins with: it exists, therefore it is usable. */
export interface PreparedCerts {
  /** The CA that issues. */
  readonly ca: CertificateAuthority;
  readonly cas: CaParts;
  readonly bundle: CertificateBundle;
  /** The CAs of the trust Secret. */
  readonly trust: readonly X509Certificate[];
  /** The Secrets that the bundle was built from. */
  readonly snapshot: SecretSnapshot;
}

/**
 * A file that is being written may be half there; after these attempts a malformed Secret counts as
 * malformed.
 */
const MALFORMED_ATTEMPTS = 4;

/**
 * Brings certificates into a usable state before anything listens: loads or creates the CA, loads or issues
 * the hub certificate, loads the client trust, verifies all together. Idempotent, and safe to run on any
 * number of replicas at once (requirements A1–A4).
 *
 * A store that cannot be reached is asked again, with back-off, until `signal` ends it.
 * @throws ADDRESS_INVALID, CA_INVALID, BUNDLE_INVALID, SECRET_MALFORMED, SECRET_KEY_MISSING, KEY_…;
 * NO_CERTIFICATES with the last cause when the signal ended the attempts
 */
export async function prepareAllCerts(
  components: CertificateComponents,
  options: PrepareOptions,
  signal: AbortSignal,
): Promise<PreparedCerts> {
  const names = parseAdvertisedNames(options.addresses);
  const step = <T>(name: string, task: () => Promise<T>) =>
    attempt({ name, task, components, options, signal });

  const { cas, caSecret, rolloverSecret } = await step('loadOrCreateCa', () =>
    loadCas(components, options, signal),
  );
  const ca = cas.roles.issuing;
  const hubSecret = await step('loadOrIssueServerCert', () =>
    loadOrIssueServerCert(components, { ca, names, options, signal }),
  );
  const { trust, trustSecret } = await step('loadClientTrust', () =>
    loadClientTrust(components, options, signal),
  );
  const bundle = verifyTogether(components, { roles: cas.roles, hubSecret, trust, names });

  const snapshot = new Map<string, Secret | undefined>([
    [options.certificates.caSecret, caSecret],
    [options.certificates.hubSecret, hubSecret],
    [options.certificates.trustSecret, trustSecret],
    [options.certificates.rolloverSecret, rolloverSecret],
  ]);
  components.log.info(
    {
      ca: ca.certificate.sha256,
      hub: bundle.server.sha256,
      names: bundle.server.names,
      store: components.store.location,
    },
    'certificates are ready',
  );
  return { ca, cas, bundle, trust, snapshot };
}

/**
 * How often CA and rollover are read again when they do not fit: the other replicas may just be ending a
 * rollover.
 */
const MISMATCHES = 3;

/**
 * The CA Secret and the rollover, which together say which CA issues. @throws CA_INVALID when they do not
 * belong together
 */
async function loadCas(
  components: CertificateComponents,
  options: PrepareOptions,
  signal: AbortSignal,
): Promise<{ cas: CaParts; caSecret: Secret; rolloverSecret: Secret | undefined }> {
  const { store, clock } = components;
  const name = options.certificates.rolloverSecret;
  for (let attempt = 1; ; attempt++) {
    const { ca: own, caSecret } = await loadOrCreateCa(components, options, signal);
    const rolloverSecret = await store.get(name, signal);
    const rollover = decodeRollover(rolloverSecret, { clock });
    const roles = resolveCaRoles(own, rollover);
    // Ended, and the CA read before that: nobody would want to begin with the old one.
    const isLate = rollover.phase === 'idle' && rollover.last?.from === own.certificate.sha256;
    if (roles && (!isLate || attempt >= MISMATCHES))
      return { cas: { own, rollover, roles }, caSecret, rolloverSecret };
    if (attempt < MISMATCHES) continue;
    const problem = `the rollover in secret ${name} is about other CAs; restore the one or the other from a backup`;
    throw new SallyportError('CA_INVALID', { secret: caSecret.name, problem });
  }
}

/**
 * Only a definite "there is none" leads to a new CA, and a CA that exists is never written: a second CA would
 * cut off every node that joined with the first (KubeEdge issues 5922 and 6052).
 */
async function loadOrCreateCa(
  { store, clock, log, events }: CertificateComponents,
  { certificates: { caSecret: name, caDays } }: PrepareOptions,
  signal: AbortSignal,
): Promise<{ ca: CertificateAuthority; caSecret: Secret }> {
  const record = new SharedRecord<CertificateAuthority | undefined>(
    { store, clock },
    {
      name,
      codec: {
        decode: (stored) => ({ value: stored && CertificateAuthority.fromSecret(stored, { clock }) }),
        encode: (ca) => ca!.toSecret(name).data,
      },
    },
  );
  const { record: caSecret, wrote } = await record.change(
    async (present) => present ?? (await CertificateAuthority.create({ clock }, { days: caDays })),
    { signal },
  );
  const ca = CertificateAuthority.fromSecret(caSecret!, { clock });
  if (wrote) {
    const { sha256 } = ca.certificate;
    log.info({ secret: name, ca: sha256 }, 'created a new CA');
    const message = `created a new CA, SHA-256 ${sha256}; back up this Secret`;
    events?.record({ reason: 'CertificateAuthorityCreated', type: 'Normal', secret: name, message });
  }
  return { ca, caSecret: caSecret! };
}

/**
 * A hub certificate that is missing, unusable, due or lacks a name is issued anew; one that somebody else
 * keeps is only read (A4).
 */
async function loadOrIssueServerCert(
  components: CertificateComponents,
  wish: { ca: CertificateAuthority; names: AdvertisedNames; options: PrepareOptions; signal: AbortSignal },
): Promise<Secret> {
  const { ca, names, options, signal } = wish;
  return (await ensureHubSecret(components, { ca, names, options: options.certificates }, signal)).secret;
}

async function loadClientTrust(
  { store }: CertificateComponents,
  { certificates }: PrepareOptions,
  signal: AbortSignal,
): Promise<{ trust: X509Certificate[]; trustSecret: Secret | undefined }> {
  const trustSecret = await store.get(certificates.trustSecret, signal);
  return { trust: readClientTrust(trustSecret), trustSecret };
}

function verifyTogether(
  { clock }: CertificateComponents,
  parts: {
    roles: CaRoles;
    hubSecret: Secret;
    trust: readonly X509Certificate[];
    names: AdvertisedNames;
  },
): CertificateBundle {
  const { hubSecret: hub, roles, ...others } = parts;
  const { issuing: ca, ...more } = roles;
  return buildBundle({ ...others, ...more, ca, hub, now: clock.now() });
}

/** Retries one step while the store, and not its content, is the trouble. */
async function attempt<T>(step: {
  name: string;
  task: () => Promise<T>;
  components: CertificateComponents;
  options: PrepareOptions;
  signal: AbortSignal;
}): Promise<T> {
  const { components, options, signal, name } = step;
  const { clock, log } = components;
  let last: unknown;
  let malformed = 0;
  try {
    return await retry(step.task, {
      ...(options.retry ?? { minMs: 200, maxMs: 10_000 }),
      clock,
      signal,
      isRetryable: (error) => {
        last = error;
        if (isSallyportError(error, 'SECRET_MALFORMED')) return ++malformed < MALFORMED_ATTEMPTS;
        return isTroubleOfTheStore(error);
      },
      onRetry: (error, delayMs, attempt) => {
        log.warn(
          { step: name, attempt, delayMs, problem: describeError(error) },
          'cannot prepare certificates yet; trying again',
        );
      },
    });
  } catch (error) {
    if (!signal.aborted || (isSallyportError(error) && !isTroubleOfTheStore(error))) throw error;
    const cause = last ?? signal.reason;
    throw new SallyportError('NO_CERTIFICATES', { step: name, problem: describeError(cause) }, cause);
  }
}

/** What may go away by waiting. What no code of ours names (a network error, say) is the store's as well. */
function isTroubleOfTheStore(error: unknown): boolean {
  return (
    !isSallyportError(error) ||
    isSallyportError(error, 'SECRET_STORE_UNAVAILABLE', 'SECRET_STORE_FORBIDDEN', 'SECRET_BUSY')
  );
}
