import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomUUID,
  X509Certificate,
} from 'node:crypto';
import { chmod, link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AuditEntry, AuditTrail } from '../../contracts/audit-trail.ts';
import type { CaCertificate } from '../../contracts/certificate-source.ts';
import type { Clock } from '../../core/clock.ts';
import { makeFolder } from '../../core/durable-files.ts';
import { SallyportError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { ADMIN_ORGANIZATIONS, type AdminRole } from '../../identity/admin-gate.ts';

/** The part of `CertificateAuthority` that makes administrators. */
export interface AdminIssuer {
  readonly certificate: CaCertificate;
  issueAdmin(options: IssueAdminOptions): Promise<{ der: Uint8Array; serial: string; notAfter: Date }>;
}

export interface IssueAdminOptions {
  /** SPKI, DER. */
  readonly publicKey: Uint8Array;
  /** Common name. */
  readonly name: string;
  readonly role: AdminRole;
  readonly days: number;
  readonly backdateMs: number;
}

export interface AdminCertificateComponents {
  readonly authority: AdminIssuer;
  readonly clock: Pick<Clock, 'now'>;
  readonly log: Logger;
  readonly audit: AuditTrail;
}

export interface AdminCertificateOptions {
  /** Folder of the three files, created 0700 when missing. */
  readonly directory: string;
  /** Common name, and name of the files. */
  readonly name: string;
  readonly role: AdminRole;
  readonly days: number;
  /** How far notBefore lies back, milliseconds. */
  readonly backdateMs?: number;
  /** Who has it made, why and from where; default: the gateway by itself. */
  readonly deed?: Pick<AuditEntry, 'who' | 'why' | 'from'>;
}

/** Where the credentials of the command line are; each file is 0600. */
export interface AdminFiles {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

export const adminFiles = (directory: string, name = 'admin'): AdminFiles => ({
  cert: join(directory, `${name}.crt`),
  key: join(directory, `${name}.key`),
  ca: join(directory, 'ca.crt'),
});

const BY_ITSELF = { who: 'gateway' };

/** Part of its life after which the certificate is renewed: as much is left as of the hub's. */
const RENEW_FRACTION = 2 / 3;

/**
 * Sees to it that the folder holds a client certificate of this role and name, of the present CA, with
 * enough life left. Several gateways may share the folder: the key is created once and then kept, so that
 * whoever's certificate is written last fits it. None is handed out that the audit has no line of.
 * @throws AUDIT_UNAVAILABLE
 */
export async function ensureAdminCertificate(
  { authority, clock, log, audit }: AdminCertificateComponents,
  { directory, name, role, days, backdateMs = 3_600_000, deed = BY_ITSELF }: AdminCertificateOptions,
): Promise<AdminFiles> {
  const files = adminFiles(directory, name);
  makeFolder(directory);
  const key = await loadOrCreateKey(files.key);
  const ca = authority.certificate;
  if ((await readText(files.ca)) !== ca.pem) await replace(files.ca, ca.pem);
  const subject = [`O=${ADMIN_ORGANIZATIONS[role]}`, `CN=${name}`].join('\n');
  if (isUsable(await readText(files.cert), { key, ca, subject, now: clock.now() })) return files;

  const publicKey = createPublicKey(key).export({ type: 'spki', format: 'der' });
  const issued = await authority.issueAdmin({ publicKey, name, role, days, backdateMs });
  const { serial, notAfter } = issued;
  const entry = {
    ...deed,
    action: 'admin-certificate-issued',
    what: `${role} ${name} has a certificate until ${notAfter.toISOString()}`,
    facts: { serial, role, name, issuerSha256: ca.sha256 },
  };
  if (!audit.record(entry)) throw new SallyportError('AUDIT_UNAVAILABLE', { problem: audit.problem() });
  await replace(files.cert, new X509Certificate(issued.der).toString());
  log.info({ file: files.cert, serial, notAfter: notAfter.toISOString() }, 'issued the admin certificate');
  return files;
}

function isUsable(
  pem: string | undefined,
  { key, ca, subject, now }: { key: KeyObject; ca: CaCertificate; subject: string; now: number },
): boolean {
  try {
    const certificate = new X509Certificate(pem ?? '');
    const authority = new X509Certificate(ca.pem);
    const [begin, end] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()];
    return (
      certificate.checkPrivateKey(key) &&
      certificate.checkIssued(authority) &&
      certificate.verify(authority.publicKey) &&
      certificate.subject === subject &&
      now >= begin &&
      now < begin + (end - begin) * RENEW_FRACTION
    );
  } catch {
    return false;
  }
}

async function loadOrCreateKey(path: string): Promise<KeyObject> {
  const text = await readText(path);
  const stored = readKey(text);
  if (stored !== undefined) {
    await chmod(path, 0o600);
    return stored;
  }
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
    await writeFile(temporary, pem, { mode: 0o600, flag: 'wx' });
    // A link never replaces: of two gateways that start at once, one creates the key. What cannot be read is
    // replaced.
    if (text === undefined) await link(temporary, path);
    else await rename(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await rm(temporary, { force: true });
  }
  return readKey(await readText(path)) ?? privateKey;
}

function readKey(pem: string | undefined): KeyObject | undefined {
  try {
    const key = createPrivateKey(pem ?? '');
    return key.asymmetricKeyType === 'ec' ? key : undefined;
  } catch {
    return undefined;
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function replace(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    await writeFile(temporary, text, { mode: 0o600, flag: 'wx' });
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}
