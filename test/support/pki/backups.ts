import { type Backup, decodeBackup, encodeBackup } from '../../../src/backup/backup-content.ts';
import type { BackupName } from '../../../src/backup/backup-names.ts';
import { encodeTokenState, type TokenStateData } from '../../../src/certs/enrolment/token-state-codec.ts';
import { encodeRevocations, LIST_FIELD } from '../../../src/certs/revocation/revocation-codec.ts';
import { type RevocationDraft, RevocationList } from '../../../src/certs/revocation/revocation-list.ts';
import type { Secret } from '../../../src/contracts/secret-store.ts';
import type { Pair } from './pki.ts';

export const NAMES: readonly BackupName[] = [
  { role: 'revocations', name: 'sallyport-revocations' },
  { role: 'tokens', name: 'sallyport-tokens' },
  { role: 'trust', name: 'sallyport-trust' },
  { role: 'other', name: 'sallyport-rollover' },
  { role: 'ca', name: 'casecret' },
];

export const caSecret = (ca: Pair, name = 'casecret'): Secret => ({
  name,
  type: 'Opaque',
  data: { cadata: ca.der, cakeydata: ca.privateKey.export({ type: 'sec1', format: 'der' }) },
});

export const trustSecret = (...cas: readonly Pair[]): Secret => ({
  name: 'sallyport-trust',
  data: Object.fromEntries(cas.map((ca, index) => [`ca-${index}`, ca.der])),
});

export const revocationSecret = (list: RevocationList): Secret => ({
  name: 'sallyport-revocations',
  data: { [LIST_FIELD]: encodeRevocations(list) },
});

export const tokenSecret = (state: Partial<TokenStateData> = {}): Secret => ({
  name: 'sallyport-tokens',
  data: encodeTokenState({
    key: new Uint8Array(32).fill(7),
    epoch: 0,
    revokedAt: 0,
    usedTokens: new Map(),
    renewedCertificates: new Map(),
    ...state,
  }),
});

export const revocation = (node: string, more: Partial<RevocationDraft> = {}): RevocationDraft => ({
  target: { node },
  reason: 'keyCompromise',
  at: Date.UTC(2026, 10, 1),
  by: 'anna',
  ...more,
});

/** A list with one decision after the other. */
export const listOf = (...drafts: readonly RevocationDraft[]): RevocationList =>
  drafts.reduce((list, draft) => list.add(draft), RevocationList.EMPTY);

/** As it comes out of a file. */
export function backupOf(
  secrets: Backup['secrets'],
  { createdAt = '2026-11-20T00:00:00.000Z', missing = [] }: Partial<Backup> = {},
): Backup {
  return decodeBackup(encodeBackup({ createdAt, version: '1.2.3', location: 'a folder', secrets, missing }));
}
