import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { withCommandAudit } from '../audit/command-audit.ts';
import { adminFiles, ensureAdminCertificate } from '../certs/ca/admin-certificate.ts';
import type { LoadedConfig } from '../config/load.ts';
import type { SecretStore } from '../contracts/secret-store.ts';
import { systemClock } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import { createMetrics } from '../core/metrics.ts';
import type { AdminRole } from '../identity/admin-gate.ts';
import { storedCas } from './doctor/stored-cas.ts';
import { withStore } from './open-store.ts';
import type { Terminal } from './terminal.ts';
import { terminalLog } from './terminal-log.ts';
import { UsageError } from './usage-error.ts';

export interface IssueAdminWish {
  readonly role: AdminRole;
  /** Common name, and name of the files. */
  readonly name: string;
  readonly out: string;
  readonly days: number;
  /** For the audit. */
  readonly why?: string | undefined;
}

/**
 * Writes key, certificate and CA for an administrator. The CA key never leaves the store: whoever may read it
 * could make them with openssl as well, so this gives nobody a right.
 * @throws UsageError when one of the files is there; SECRET_NOT_FOUND, CA_INVALID, AUDIT_FOLDER_UNUSABLE,
 * AUDIT_UNAVAILABLE
 */
export async function issueAdmin(
  terminal: Terminal,
  loaded: LoadedConfig,
  wish: IssueAdminWish,
): Promise<void> {
  const { role, name, out: directory, days, why } = wish;
  // What is there may be revoked, or of another hub.
  const there = Object.values(adminFiles(directory, name)).find(existsSync);
  if (there !== undefined)
    throw new UsageError(`${there} exists; remove it, or name another folder with --out`);
  const authority = await withStore(terminal, loaded, (store) => issuingCa(store, loaded));
  const { audit: options } = loaded.config;
  const log = terminalLog(terminal, 'error');
  const parts = { clock: systemClock, log, metrics: createMetrics({ process: false }) };
  const deed = { who: userName(), why, from: hostname() };
  const files = await withCommandAudit(parts, options, (audit) =>
    ensureAdminCertificate({ ...parts, authority, audit }, { directory, name, role, days, deed }),
  );
  const { serialNumber, validTo } = new X509Certificate(readFileSync(files.cert));
  terminal.print(`${role} ${name}, until ${new Date(validTo).toISOString()}, serial ${serialNumber}`);
  terminal.print(`use it with --cert ${files.cert} --key ${files.key} --ca ${files.ca}`);
  terminal.print(`end it with sallyport revoke --serial ${serialNumber}`);
  if (options.path === undefined)
    terminal.printError('no audit has a line of this: audit.path is not set where the command runs');
}

/** Of the account that runs the command; a container may have one without a name. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.()}`;
  }
}

async function issuingCa(store: SecretStore, { config }: Pick<LoadedConfig, 'config'>) {
  const { caSecret, rolloverSecret } = config.certificates;
  const signal = AbortSignal.timeout(15_000);
  const read = async (name: string) => [name, { secret: await store.get(name, signal) }] as const;
  const secrets = new Map(await Promise.all([caSecret, rolloverSecret].map(read)));
  const cas = storedCas({ config, secrets, clock: systemClock });
  if (!cas) throw new SallyportError('SECRET_NOT_FOUND', { secret: caSecret });
  return cas.roles.issuing;
}
