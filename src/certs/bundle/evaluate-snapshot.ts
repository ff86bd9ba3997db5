import type { X509Certificate } from 'node:crypto';
import type { CertificateBundle } from '../../contracts/certificate-source.ts';
import type { Secret, SecretSnapshot } from '../../contracts/secret-store.ts';
import type { Clock } from '../../core/clock.ts';
import { describeError, isSallyportError } from '../../core/errors.ts';
import { type CaParts, type CaRoles, resolveCaRoles } from '../ca/ca-roles.ts';
import { CertificateAuthority } from '../ca/certificate-authority.ts';
import { decodeRollover } from '../ca/rollover-codec.ts';
import type { RolloverState } from '../ca/rollover-state.ts';
import type { AdvertisedNames } from '../x509/advertised-names.ts';
import { sha256Hex } from '../x509/certificate-signer.ts';
import { isIssuedBy } from '../x509/issuer-path.ts';
import { buildBundle, readClientTrust } from './certificate-bundle.ts';
import { type HubProblem, readHubCertificate } from './hub-certificate.ts';
import type { BundleRefusal } from './swap-guard.ts';

/** The parts the current bundle is made of. */
export interface BundleInUse extends CaParts {
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
    | 'trust-invalid'
    | 'rollover-missing'
    | 'rollover-invalid';
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
  /** The CAs to use from now on, even when the hub certificate does not fit them yet. */
  readonly cas: CaParts;
  /**
   * The stored hub certificate is good, and from the CA that does not issue (any longer): it is to be
   * replaced.
   */
  readonly hubBehind: boolean;
}

interface Context {
  readonly snapshot: SecretSnapshot;
  readonly inUse: BundleInUse;
  readonly secrets: {
    readonly caSecret: string;
    readonly hubSecret: string;
    readonly trustSecret: string;
    readonly rolloverSecret: string;
  };
  readonly names: AdvertisedNames;
  readonly clock: Clock;
  /** Why a valid bundle must not be taken all the same. */
  readonly refusal?: (bundle: CertificateBundle) => BundleRefusal | undefined;
}

const NO_NAMES: AdvertisedNames = { dns: [], ips: [] };

/**
 * Decides what a snapshot of the Secrets means for a hub that already runs. Each part is judged by itself, so
 * that a damaged hub certificate does not keep a retired CA trusted, nor a damaged trust Secret a renewed hub
 * certificate waiting. Pure; never throws.
 */
export function evaluateSnapshot(context: Context): Evaluation {
  const { snapshot, inUse, secrets } = context;
  const problems: StoredProblem[] = [];
  const rollover = evaluateRollover(context, problems);
  const { own, storedCa } = evaluateCa(context, rollover, problems);
  const roles = evaluateRoles(context, { own, rollover }, problems);
  const cas: CaParts = { own, rollover, roles };
  let { trust } = inUse;
  try {
    trust = readClientTrust(snapshot.get(secrets.trustSecret));
  } catch (error) {
    problems.push({ secret: secrets.trustSecret, reason: 'trust-invalid', problem: describeError(error) });
  }
  const stored = snapshot.get(secrets.hubSecret);
  const good = tryBundle(context, { roles, trust, hub: stored }, problems);
  const valid = typeof good === 'string' ? undefined : good;
  const refusal = valid && context.refusal?.(valid);
  const { partner } = roles;
  const hubBehind =
    valid !== undefined && partner !== undefined && isIssuedBy(readHubCertificate(stored!).leaf, partner);
  const about = {
    problems,
    storedCa,
    cas,
    hubBehind,
    ...(valid ? { storedSha256: valid.server.sha256 } : {}),
  };
  const asStored = { ...about, bundle: valid, parts: { ...cas, trust, hub: stored! } };
  if (valid && !refusal) return { ...asStored, storedHub: 'good' };
  if (refusal) problems.push({ secret: secrets.hubSecret, ...refusal });
  // The hub certificate in use may lack a name that was advertised only now; it still is the best there is.
  const fallback = tryBundle({ ...context, names: NO_NAMES }, { roles, trust, hub: inUse.hub }, []);
  const storedHub = refusal?.reason ?? (good as HubProblem);
  // What some of the fleet cannot connect to is better than what nobody can.
  if (typeof fallback === 'string' && refusal?.reason === 'returned') return { ...asStored, storedHub };
  const bundle = typeof fallback === 'string' || isRefused(fallback, context) ? undefined : fallback;
  return { ...about, bundle, parts: { ...cas, trust, hub: inUse.hub }, storedHub };
}

function isRefused(bundle: CertificateBundle, { refusal }: Context): boolean {
  return refusal?.(bundle) !== undefined;
}

/**
 * The state in use never goes backwards: what is older than it comes from a late snapshot, or from a backup.
 */
function evaluateRollover(
  { snapshot, inUse, secrets, clock }: Context,
  problems: StoredProblem[],
): RolloverState {
  const secret = secrets.rolloverSecret;
  const stored = snapshot.get(secret);
  const present = inUse.rollover;
  if (!stored) {
    if (present.phase === 'idle' && present.bridges.length === 0) return present;
    const problem =
      'the Secret of the CA rollover vanished; restore it from a backup, the new CA is nowhere else';
    problems.push({ secret, reason: 'rollover-missing', problem });
    return present;
  }
  try {
    const state = decodeRollover(stored, { clock });
    return state.version < present.version ? present : state;
  } catch (error) {
    problems.push({ secret, reason: 'rollover-invalid', problem: describeError(error) });
    return present;
  }
}

/**
 * A hub that runs never changes its CA by itself: docs/decisions/ca-change.md. The one change it follows is
 * the end of a rollover, which the state of the rollover has told before.
 */
function evaluateCa(
  { snapshot, inUse, secrets, clock }: Context,
  rollover: RolloverState,
  problems: StoredProblem[],
): { own: CertificateAuthority; storedCa: StoredCa } {
  const secret = secrets.caSecret;
  const stored = snapshot.get(secret);
  if (!stored) {
    problems.push({
      secret,
      reason: 'ca-missing',
      problem: 'the Secret of the CA vanished; restore it from a backup',
    });
    return { own: inUse.own, storedCa: { is: 'missing' } };
  }
  let own: CertificateAuthority;
  try {
    own = CertificateAuthority.fromSecret(stored, { clock });
  } catch (error) {
    problems.push({ secret, reason: 'ca-invalid', problem: describeError(error) });
    return { own: inUse.own, storedCa: { is: 'invalid' } };
  }
  const { sha256 } = own.certificate;
  const before = inUse.own.certificate.sha256;
  if (sha256 === before || endsRollover(rollover, { before, after: sha256 }))
    return { own, storedCa: { is: 'same' } };
  const problem = `the Secret holds another CA (${sha256}) than the one in use (${before}); restore the Secret, or restart to take the other over`;
  problems.push({ secret, reason: 'ca-changed', problem });
  return { own: inUse.own, storedCa: { is: 'other', sha256 } };
}

function endsRollover(
  { phase, pair, last }: RolloverState,
  { before, after }: { before: string; after: string },
): boolean {
  if (phase === 'revoking' && pair)
    return sha256Hex(pair.old.raw) === before && pair.next.certificate.sha256 === after;
  return phase === 'idle' && last !== undefined && last.from === before && last.to === after;
}

function evaluateRoles(
  { inUse, secrets }: Context,
  { own, rollover }: Omit<CaParts, 'roles'>,
  problems: StoredProblem[],
): CaRoles {
  const { issuing } = inUse.roles;
  // The end of a rollover is seen in its own Secret first; the CA Secret follows in a moment.
  const isLate =
    rollover.phase === 'idle' &&
    rollover.last?.from === own.certificate.sha256 &&
    rollover.last.to === issuing.certificate.sha256;
  if (isLate) return { issuing, bridges: rollover.bridges };
  const roles = resolveCaRoles(own, rollover);
  if (roles) return roles;
  const problem = `it is about other CAs than the one in secret ${secrets.caSecret} (${own.certificate.sha256})`;
  problems.push({ secret: secrets.rolloverSecret, reason: 'rollover-invalid', problem });
  return inUse.roles;
}

function tryBundle(
  { secrets, names, clock }: Context,
  { roles, trust, hub }: Pick<BundleInUse, 'roles' | 'trust'> & { hub: Secret | undefined },
  problems: StoredProblem[],
): CertificateBundle | HubProblem {
  const fail = (reason: HubProblem, problem: string) => {
    problems.push({ secret: secrets.hubSecret, reason, problem });
    return reason;
  };
  if (!hub) return fail('missing', 'the Secret of the hub certificate vanished');
  try {
    const { issuing: ca, ...others } = roles;
    return buildBundle({ ca, ...others, trust, hub, names, now: clock.now() });
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
