import type { Config } from '../config/schema.ts';

/** What a Secret is to a backup; `other` is taken as it is. */
export type BackupRole = 'ca' | 'trust' | 'revocations' | 'tokens' | 'other';

export interface BackupName {
  readonly role: BackupRole;
  readonly name: string;
}

/**
 * Not in a backup: what gateways make anew by themselves, what they remember of nodes and tell each other,
 * and the record of the backups.
 */
const LEFT_OUT = new Set(['hubSecret', 'fleetSecret', 'historySecret', 'replicaSecret', 'backupSecret']);
const ROLES: Readonly<Record<string, BackupRole>> = {
  caSecret: 'ca',
  trustSecret: 'trust',
  revocationSecret: 'revocations',
  stateSecret: 'tokens',
};

/**
 * The Secrets that a fleet cannot do without, in the order a restore writes them: who is shut out comes
 * before anybody can be let in, and the CA, without which nothing starts, comes last. Every further setting
 * that names a Secret is included as it is.
 */
export function backupNames({ certificates, tokens }: Pick<Config, 'certificates' | 'tokens'>): BackupName[] {
  const named = Object.entries({ ...certificates, ...tokens }).flatMap(([setting, name]) =>
    setting.endsWith('Secret') && typeof name === 'string' && !LEFT_OUT.has(setting)
      ? [{ role: ROLES[setting] ?? ('other' as const), name }]
      : [],
  );
  const order: readonly BackupRole[] = ['revocations', 'tokens', 'trust', 'other', 'ca'];
  return named.sort((a, b) => order.indexOf(a.role) - order.indexOf(b.role));
}
