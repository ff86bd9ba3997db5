import type { X509Certificate } from 'node:crypto';
import type { CertificateBundle } from '../contracts/certificate-source.ts';
import type { Secret, SecretSnapshot } from '../contracts/secret-store.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, isSallyportError } from '../core/errors.ts';
import type { AdvertisedNames } from './advertised-names.ts';
import { CertificateAuthority } from './certificate-authority.ts';
import { buildBundle, readClientTrust } from './certificate-bundle.ts';
import type { HubProblem } from './hub-certificate.ts';
import type { BundleRefusal } from './swap-guard.ts';

/** The parts the current bundle is made of. */
export interface BundleInUse {
  readonly ca: CertificateAuthority;
  readonly hub: Secret;
  readonly trust: readonly X509Certificate[];
}

export interface StoredProblem {
  readonly secret: string;
  /** Label of the reload metric. */
  readonly reason:
    | HubProblem
    | BundleRefusal['reason']
    | 'ca-missing'
    | 'ca-invalid'
    | 'ca-changed'
    | 'trust-invalid';
  readonly problem: string;
}

/** What the CA Secret holds, compared with the CA in use. */
export type StoredCa =
  | { readonly is: 'same' | 'missing' | 'invalid' }
  | { readonly is: 'other'; readonly sha256: string };

export interface Evaluation {
  /** Valid by construction; undefined when not even the parts in use give a valid bundle any more. */
  readonly bundle: CertificateBundle | undefined;
  /** What to use from now on: of each part the stored one when it is good, else the one in use. */
  readonly parts: BundleInUse;
  readonly problems: readonly StoredProblem[];
  readonly storedCa: StoredCa;
  readonly storedHub: 'good' | HubProblem | BundleRefusal['reason'];
  /** SHA-256 of the stored hub certificate, when it is valid. */
  readonly storedSha256?: string;
}

interface Context {
  readonly snapshot: SecretSnapshot;
  readonly inUse: BundleInUse;
  readonly secrets: { readonly caSecret: string; readonly hubSecret: string; readonly trustSecret: string };
  readonly names: AdvertisedNames;
  readonly clock: Clock;
  /** Why a valid bundle must not be taken all the same. */
  readonly refusal?: (bundle: CertificateBundle) => BundleRefusal | undefined;
}

const NO_NAMES: AdvertisedNames = { dns: [], ips: [] };

/**
 * Decides what a snapshot of the Secrets means for a hub that already runs. Each part is judged by itself, so that a damaged hub
 * certificate does not keep a retired CA trusted, nor a damaged trust Secret a renewed hub certificate waiting. Pure; never throws.
 */
export function evaluateSnapshot(context: Context): Evaluation {
  const { snapshot, inUse, secrets } = context;
  const problems: StoredProblem[] = [];
  const { ca, storedCa } = evaluateCa(context, problems);
  let { trust } = inUse;
  try {
    trust = readClientTrust(snapshot.get(secrets.trustSecret));
  } catch (error) {
    problems.push({ secret: secrets.trustSecret, reason: 'trust-invalid', problem: describeError(error) });
  }
  const stored = snapshot.get(secrets.hubSecret);
  const good = tryBundle(context, { ca, trust, hub: stored }, problems);
  const valid = typeof good === 'string' ? undefined : good;
  const refusal = valid && context.refusal?.(valid);
  const storedSha256 = valid ? { storedSha256: valid.server.sha256 } : {};
  const asStored = { bundle: valid, parts: { ca, trust, hub: stored! }, problems, storedCa, ...storedSha256 };
  if (valid && !refusal) return { ...asStored, storedHub: 'good' };
  if (refusal) problems.push({ secret: secrets.hubSecret, ...refusal });
  // The hub certificate in use may lack a name that was advertised only now; it still is the best there is.
  const fallback = tryBundle({ ...context, names: NO_NAMES }, { ca, trust, hub: inUse.hub }, []);
  const storedHub = refusal?.reason ?? (good as HubProblem);
  // What some of the fleet cannot connect to is better than what nobody can.
  if (typeof fallback === 'string' && refusal?.reason === 'returned') return { ...asStored, storedHub };
  const bundle = typeof fallback === 'string' || isRefused(fallback, context) ? undefined : fallback;
  return { bundle, parts: { ca, trust, hub: inUse.hub }, problems, storedCa, storedHub, ...storedSha256 };
}

function isRefused(bundle: CertificateBundle, { refusal }: Context): boolean {
  return refusal?.(bundle) !== undefined;
}

/** A hub that runs never changes its CA by itself: docs/decisions/ca-change.md. */
function evaluateCa(
  { snapshot, inUse, secrets, clock }: Context,
  problems: StoredProblem[],
): { ca: CertificateAuthority; storedCa: StoredCa } {
  const secret = secrets.caSecret;
  const stored = snapshot.get(secret);
  if (!stored) {
    problems.push({
      secret,
      reason: 'ca-missing',
      problem: 'the Secret of the CA vanished; restore it from a backup',
    });
    return { ca: inUse.ca, storedCa: { is: 'missing' } };
  }
  let ca: CertificateAuthority;
  try {
    ca = CertificateAuthority.fromSecret(stored, { clock });
  } catch (error) {
    problems.push({ secret, reason: 'ca-invalid', problem: describeError(error) });
    return { ca: inUse.ca, storedCa: { is: 'invalid' } };
  }
  const { sha256 } = ca.certificate;
  if (sha256 === inUse.ca.certificate.sha256) return { ca, storedCa: { is: 'same' } };
  const problem = `the Secret holds another CA (${sha256}) than the one in use (${inUse.ca.certificate.sha256}); restore the Secret, or restart to take the other over`;
  problems.push({ secret, reason: 'ca-changed', problem });
  return { ca: inUse.ca, storedCa: { is: 'other', sha256 } };
}

function tryBundle(
  { secrets, names, clock }: Context,
  { ca, trust, hub }: Omit<BundleInUse, 'hub'> & { hub: Secret | undefined },
  problems: StoredProblem[],
): CertificateBundle | HubProblem {
  const fail = (reason: HubProblem, problem: string) => {
    problems.push({ secret: secrets.hubSecret, reason, problem });
    return reason;
  };
  if (!hub) return fail('missing', 'the Secret of the hub certificate vanished');
  try {
    return buildBundle({ ca, trust, hub, names, now: clock.now() });
  } catch (error) {
    if (isSallyportError(error, 'CA_INVALID')) {
      problems.push({ secret: secrets.caSecret, reason: 'ca-invalid', problem: describeError(error) });
      return 'wrong-ca';
    }
    const reason = isSallyportError(error, 'BUNDLE_INVALID')
      ? (error.details.reason as HubProblem)
      : 'malformed';
    return fail(reason, describeError(error));
  }
}
