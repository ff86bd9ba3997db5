import type { EventRecorder } from '../../contracts/event-recorder.ts';
import type { Secret, SecretStore } from '../../contracts/secret-store.ts';
import type { Clock } from '../../core/clock.ts';
import { isSallyportError, SallyportError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { SharedRecord } from '../../core/shared-record.ts';
import type { CertificateAuthority } from '../ca/certificate-authority.ts';
import { type AdvertisedNames, parseAdvertisedNames } from '../x509/advertised-names.ts';
import { namesOf, oneLine } from '../x509/certificate-names.ts';
import { checkHubCertificate, isTlsSecret, readHubCertificate } from './hub-certificate.ts';

/** The part of the configuration that this needs. */
export interface HubSecretOptions {
  readonly hubSecret: string;
  readonly hubSecretManaged: boolean;
  readonly hubDays: number;
  readonly renewFraction: number;
  readonly backdateMs: number;
}

export interface HubSecretWish {
  readonly ca: CertificateAuthority;
  readonly names: AdvertisedNames;
  readonly options: HubSecretOptions;
  /** Issue a new one even when the stored one is good. */
  readonly rotate?: boolean;
}

/** A new hub certificate, and why it was made. */
interface Issued {
  readonly data: Secret['data'];
  readonly why: string;
  readonly names: readonly string[];
}

interface Components {
  readonly store: SecretStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events?: EventRecorder;
}

/**
 * Reads the hub Secret and issues it anew when it is missing, not usable, due for renewal, or lacks an
 * advertised name. Writes only what it has read: of several replicas one wins, the others take the winner's
 * (requirement B4).
 * @returns the Secret as stored, and the version it replaced
 * @throws BUNDLE_INVALID or SECRET_NOT_FOUND when somebody else keeps the Secret, and whatever the store
 * throws
 */
export async function ensureHubSecret(
  components: Components,
  wish: HubSecretWish,
  signal?: AbortSignal,
): Promise<{ secret: Secret; replaced?: string }> {
  const { options } = wish;
  let issued: Issued | undefined;
  const record = new SharedRecord(components, {
    name: options.hubSecret,
    codec: {
      decode: (stored) => ({ value: stored?.data }),
      encode: (content, previous) => ({ ...previous, ...content }),
    },
  });
  const { record: secret, wrote } = await record.change(
    async (present, stored) => {
      const why = wish.rotate ? 'rotation' : whyIssue(stored, wish, components.clock.now());
      if (why === undefined) return present;
      issued = await issue(wish, stored, why);
      return issued.data;
    },
    { signal },
  );
  if (wrote) tell(components, wish, issued!);
  const replaced = wrote?.replaced?.version;
  return { secret: secret!, ...(replaced === undefined ? {} : { replaced }) };
}

/** False when somebody else owns the Secret: so configured, or in cert-manager's form (requirement A9). */
export function isManaged(secret: Secret | undefined, options: HubSecretOptions): boolean {
  return options.hubSecretManaged && !(secret && isTlsSecret(secret));
}

/**
 * When a certificate is due: after `renewFraction` of its life, counted from its issue and not from its
 * backdated beginning. Never, when a new one from this CA would not live longer.
 */
export function renewalDueAt(
  leaf: { readonly notBefore: Date; readonly notAfter: Date },
  ca: { readonly notAfter: Date },
  { renewFraction, backdateMs }: Pick<HubSecretOptions, 'renewFraction' | 'backdateMs'>,
): number {
  const end = leaf.notAfter.getTime();
  if (end >= ca.notAfter.getTime()) return Number.POSITIVE_INFINITY;
  const whole = end - leaf.notBefore.getTime();
  const life = whole > backdateMs ? whole - backdateMs : whole;
  return end - life * (1 - renewFraction);
}

/**
 * Undefined when the stored certificate is good, or is somebody else's.
 * @throws SECRET_NOT_FOUND when it is missing and somebody else keeps it
 */
export function whyIssue(
  stored: Secret | undefined,
  { ca, names, options }: HubSecretWish,
  now: number,
): string | undefined {
  if (!stored) {
    if (options.hubSecretManaged) return 'missing';
    throw new SallyportError('SECRET_NOT_FOUND', { secret: options.hubSecret });
  }
  if (!isManaged(stored, options)) return undefined; // verified with everything else when the bundle is built
  try {
    const hub = readHubCertificate(stored);
    checkHubCertificate(hub, { anchors: [ca.x509], names, now });
    const { leaf } = hub;
    const due = renewalDueAt(
      { notBefore: leaf.validFromDate, notAfter: leaf.validToDate },
      ca.certificate,
      options,
    );
    return now >= due ? 'renewal' : undefined;
  } catch (error) {
    if (!isSallyportError(error, 'BUNDLE_INVALID')) throw error;
    return String(error.details.reason);
  }
}

async function issue(
  { ca, names, options }: HubSecretWish,
  stored: Secret | undefined,
  why: string,
): Promise<Issued> {
  if (!isManaged(stored, options)) throw new SallyportError('HUB_NOT_MANAGED', { secret: options.hubSecret });
  const wanted = why === 'names' ? mergeNames(names, stored!) : names;
  const { certDer, keySec1Der } = await ca.issueServer({
    names: wanted,
    days: options.hubDays,
    backdateMs: options.backdateMs,
  });
  const data = { cloudcoredata: certDer, cloudcorekeydata: keySec1Der };
  return { data, why, names: [...wanted.dns, ...wanted.ips] };
}

function tell(
  { clock, log, events }: Components,
  { ca, options: { hubSecret: secret } }: HubSecretWish,
  { why, names }: Issued,
): void {
  const issuer = oneLine(ca.certificate.subject);
  const at = new Date(clock.now()).toISOString();
  log.info({ secret, why, names, issuer, at }, 'issued a hub certificate');
  events?.record({
    reason: 'HubCertificateIssued',
    type: 'Normal',
    secret,
    message: `issued a hub certificate (${why}) for ${names.join(', ')}`,
  });
}

/**
 * Replicas that are configured differently, as during a rolling update, would otherwise take turns for ever:
 * each adds its names, and names nobody wants any more go at the next renewal.
 */
function mergeNames(names: AdvertisedNames, stored: Secret): AdvertisedNames {
  const kept = namesOf(readHubCertificate(stored).leaf).filter((name) => {
    try {
      return parseAdvertisedNames([name]) !== undefined;
    } catch {
      return false;
    }
  });
  return parseAdvertisedNames([...names.dns, ...names.ips, ...kept]);
}
