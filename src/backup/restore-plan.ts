import { CertificateAuthority } from '../certs/ca/certificate-authority.ts';
import {
  decodeTokenState,
  encodeTokenState,
  type TokenStateData,
} from '../certs/enrolment/token-state-codec.ts';
import { decodeRevocations, encodeRevocations, LIST_FIELD } from '../certs/revocation/revocation-codec.ts';
import { oneLine } from '../certs/x509/certificate-names.ts';
import type { Secret, SecretSnapshot } from '../contracts/secret-store.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import type { Backup } from './backup-content.ts';
import type { BackupName, BackupRole } from './backup-names.ts';
import { leapAhead, mergeRevocations } from './merge-revocations.ts';

export interface RestoreStep {
  readonly role: BackupRole;
  readonly name: string;
  /** `keep`: what is there differs and stays. */
  readonly action: 'create' | 'replace' | 'merge' | 'unchanged' | 'keep';
  readonly text: string;
  /** What to write; a Secret with a version replaces exactly that one. */
  readonly write?: Secret;
}

export interface RestorePlan {
  /** In the order of writing. */
  readonly steps: readonly RestoreStep[];
  /** What stops working, or comes back to life, and for whom. */
  readonly breaks: readonly string[];
  /** Why nothing may be written without `force`. */
  readonly refused: readonly string[];
  /** SHA-256 of the CA that would be lost. */
  readonly lostCa?: string;
}

export interface RestoreOptions {
  /** The Secrets of today's configuration, in the order of writing. */
  readonly names: readonly BackupName[];
  readonly force: boolean;
  /** Refuse every token minted before the backup, used or not. */
  readonly revokeTokens: boolean;
}

interface Judged extends RestoreStep {
  readonly breaks?: readonly string[];
  readonly refused?: string;
  readonly lostCa?: string;
}
interface Case {
  readonly name: string;
  readonly wanted: Secret;
  readonly living: Secret | undefined;
}

/**
 * What a restore would write onto what is there. Pure. Nothing living is lost without `force`: a CA that
 * differs refuses the whole, lists are united, everything else that differs is kept.
 * @throws REVOCATIONS_FULL, errors of the backup's own parts
 */
export function planRestore(
  { clock }: { clock: Clock },
  { backup, living }: { readonly backup: Backup; readonly living: SecretSnapshot },
  options: RestoreOptions,
): RestorePlan {
  const judge = { clock, backup, options };
  const steps = placeSecrets(backup, options.names).map(({ role, name, wanted }): Judged => {
    const one = { name, wanted, living: living.get(name) };
    if (role === 'ca') return restoreCa(one, judge);
    if (role === 'revocations') return restoreRevocations(one, judge);
    if (role === 'tokens') return restoreTokens(one, judge);
    return restoreOther(role, one, judge);
  });
  const lostCa = steps.find((step) => step.lostCa)?.lostCa;
  return {
    steps: steps.map(({ breaks: _, refused: __, lostCa: ___, ...step }) => step),
    breaks: steps.flatMap(({ breaks = [] }) => breaks),
    refused: steps.flatMap(({ refused }) => (refused ? [refused] : [])),
    ...(lostCa ? { lostCa } : {}),
  };
}

/**
 * The names the configuration has today are the ones written, whatever they were called at the time of the
 * backup.
 */
export function placeSecrets(
  { secrets }: Backup,
  names: readonly BackupName[],
): { role: BackupRole; name: string; wanted: Secret }[] {
  const order = (role: BackupRole) => names.findIndex((one) => one.role === role);
  return secrets
    .map(({ role, secret }) => ({
      role,
      name: (role === 'other' ? undefined : names.find((one) => one.role === role)?.name) ?? secret.name,
      wanted: secret,
    }))
    .sort((a, b) => (a.role === 'ca' ? 1 : b.role === 'ca' ? -1 : order(a.role) - order(b.role)));
}

type Judge = { readonly clock: Clock; readonly backup: Backup; readonly options: RestoreOptions };

function restoreCa({ name, wanted, living }: Case, { clock, options }: Judge): Judged {
  const ca = CertificateAuthority.fromSecret(wanted, { clock });
  const label = `CA ${oneLine(ca.certificate.subject)}, SHA-256 ${ca.certificate.sha256}`;
  const step = { role: 'ca' as const, name };
  if (!living) return { ...step, action: 'create', text: label, write: creating(name, wanted) };
  let present: CertificateAuthority | undefined;
  try {
    present = CertificateAuthority.fromSecret(living, { clock });
  } catch (error) {
    const problem = describeError(error);
    return {
      ...step,
      action: 'replace',
      text: `${label}, in place of what cannot be used: ${problem}`,
      write: replacing(living, wanted.data),
      ...(options.force ? {} : { refused: `secret ${name} holds a CA that cannot be used (${problem})` }),
    };
  }
  if (present.certificate.sha256 === ca.certificate.sha256)
    return { ...step, action: 'unchanged', text: `the same CA is there, SHA-256 ${ca.certificate.sha256}` };
  const { sha256 } = present.certificate;
  return {
    ...step,
    action: 'replace',
    text: `${label}, in place of SHA-256 ${sha256}`,
    write: replacing(living, wanted.data),
    lostCa: sha256,
    breaks: [
      `the CA ${oneLine(present.certificate.subject)}, SHA-256 ${sha256}, and its key are lost: make a backup of it first. Nodes that joined or renewed with it are refused unless its certificate is in the trust Secret, and they do not accept this hub: they join again`,
      'join tokens and hub certificates made with the CA that is there stop working',
    ],
    ...(options.force ? {} : { refused: `secret ${name} holds another CA, SHA-256 ${sha256}` }),
  };
}

function restoreRevocations({ name, wanted, living }: Case, { clock, backup }: Judge): Judged {
  const step = { role: 'revocations' as const, name };
  const stored = decodeRevocations({ ...wanted, name });
  if (!living) {
    const list = leapAhead(stored, { sinceMs: clock.now() - Date.parse(backup.createdAt) });
    return {
      ...step,
      action: 'create',
      text: `${list.entries.length} entries; version ${stored.version} becomes ${list.version}, so that the CRL number never goes back`,
      write: { name, type: 'Opaque', data: { [LIST_FIELD]: encodeRevocations(list) } },
      breaks: [
        `who was revoked or quarantined after ${backup.createdAt} is let in again: revoke them anew (the log has "audit" lines)`,
      ],
    };
  }
  let present: ReturnType<typeof decodeRevocations>;
  try {
    present = decodeRevocations(living);
  } catch (error) {
    const list = leapAhead(stored, { sinceMs: clock.now() - Date.parse(backup.createdAt) });
    return {
      ...step,
      action: 'replace',
      text: `${list.entries.length} entries as version ${list.version}, in place of a list that cannot be read: ${describeError(error)}`,
      write: replacing(living, { [LIST_FIELD]: encodeRevocations(list) }),
      breaks: [
        `who was revoked or quarantined after ${backup.createdAt} is let in again: revoke them anew (the log has "audit" lines)`,
      ],
    };
  }
  const { list, shutOut } = mergeRevocations(present, stored);
  if (list === present)
    return { ...step, action: 'unchanged', text: `version ${present.version} has all entries of the backup` };
  return {
    ...step,
    action: 'merge',
    text: `${present.entries.length} entries and ${stored.entries.length} of the backup make ${list.entries.length}, version ${list.version}`,
    write: replacing(living, { ...living.data, [LIST_FIELD]: encodeRevocations(list) }),
    ...(shutOut.length > 0
      ? {
          breaks: [
            `shut out again, though lifted or lost since the backup: ${shutOut.join(', ')}; \`sallyport lift\` lets them in`,
          ],
        }
      : {}),
  };
}

function restoreTokens({ name, wanted, living }: Case, { clock, backup, options }: Judge): Judged {
  const step = { role: 'tokens' as const, name };
  const stored = decodeTokenState({ ...wanted, name });
  const revoked = (state: TokenStateData): TokenStateData =>
    options.revokeTokens ? { ...state, epoch: state.epoch + 1, revokedAt: clock.now() } : state;
  const again = options.revokeTokens
    ? []
    : [
        `join tokens that are on their way work; so do, until they end, those that were used or revoked after ${backup.createdAt}: --revoke-tokens refuses all of them`,
      ];
  if (!living)
    return {
      ...step,
      action: 'create',
      text: options.revokeTokens ? 'token key; every token is refused' : 'token key and used tokens',
      write: { name, type: 'Opaque', data: encodeTokenState(revoked(stored), wanted.data) },
      breaks: again,
    };
  const present = tryDecode(living);
  const isSameKey = present && Buffer.compare(present.key, stored.key) === 0;
  if (present && !isSameKey && !options.force)
    return {
      ...step,
      action: 'keep',
      text: 'another token key is there and stays: tokens of before the loss do not work',
    };
  const base = isSameKey ? present : stored;
  const merged = revoked({
    ...base,
    epoch: Math.max(stored.epoch, present?.epoch ?? 0),
    revokedAt: Math.max(stored.revokedAt, present?.revokedAt ?? 0),
    usedTokens: new Map([...stored.usedTokens, ...(present?.usedTokens ?? [])]),
    renewedCertificates: new Map([...stored.renewedCertificates, ...(present?.renewedCertificates ?? [])]),
  });
  const data = encodeTokenState(merged, living.data);
  if (isSame(data, living.data))
    return { ...step, action: 'unchanged', text: 'the same key is there, with all that was used' };
  return {
    ...step,
    action: isSameKey ? 'merge' : 'replace',
    text: isSameKey
      ? `same key; ${merged.usedTokens.size} used tokens of both`
      : `token key of the backup; ${merged.usedTokens.size} used tokens of both`,
    write: replacing(living, data),
    breaks: isSameKey ? [] : ['tokens made with the key that is there stop working', ...again],
  };
}

function restoreOther(role: BackupRole, { name, wanted, living }: Case, { options }: Judge): Judged {
  const step = { role, name };
  if (!living) return { ...step, action: 'create', text: 'as it was', write: creating(name, wanted) };
  if (isSame(wanted.data, living.data)) return { ...step, action: 'unchanged', text: 'the same is there' };
  if (!options.force)
    return { ...step, action: 'keep', text: 'what is there differs and stays; --force replaces it' };
  return {
    ...step,
    action: 'replace',
    text: 'as it was at the time of the backup',
    write: replacing(living, wanted.data),
    breaks: [
      role === 'trust'
        ? `secret ${name} becomes what it was: CAs removed since are accepted again, CAs added since are refused`
        : `secret ${name} becomes what it was at the time of the backup`,
    ],
  };
}

function creating(name: string, { type = 'Opaque', data }: Secret): Secret {
  return { name, type, data };
}

function replacing(living: Secret, data: Secret['data']): Secret {
  if (living.version === undefined)
    throw new SallyportError('SECRET_MALFORMED', { secret: living.name, problem: 'it has no version' });
  return { ...living, data };
}

function tryDecode(secret: Secret): TokenStateData | undefined {
  try {
    return decodeTokenState(secret);
  } catch {
    return undefined;
  }
}

function isSame(a: Secret['data'], b: Secret['data']): boolean {
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => b[key] !== undefined && Buffer.compare(a[key]!, b[key]!) === 0)
  );
}
