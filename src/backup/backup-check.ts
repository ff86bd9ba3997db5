import type { X509Certificate } from 'node:crypto';
import { readClientTrust } from '../certs/bundle/certificate-bundle.ts';
import { CertificateAuthority } from '../certs/ca/certificate-authority.ts';
import { decodeTokenState } from '../certs/enrolment/token-state-codec.ts';
import { decodeRevocations } from '../certs/revocation/revocation-codec.ts';
import { oneLine } from '../certs/x509/certificate-names.ts';
import { sha256Hex } from '../certs/x509/certificate-signer.ts';
import type { NodeInfo } from '../contracts/node-directory.ts';
import type { Secret } from '../contracts/secret-store.ts';
import type { Clock } from '../core/clock.ts';
import { describeError } from '../core/errors.ts';
import { type Backup, findSecret } from './backup-content.ts';
import { findPairs } from './key-pairs.ts';

export interface BackupFinding {
  /** `warn`: it can be restored, and somebody should know; `bad`: it is no good. */
  readonly level: 'ok' | 'warn' | 'bad';
  /** Secret or subject it is about. */
  readonly what: string;
  readonly text: string;
}

export interface CheckedBackup {
  readonly findings: readonly BackupFinding[];
  /** Undefined when it cannot be used. */
  readonly ca: CertificateAuthority | undefined;
  /** SHA-256 of every CA in it: what nodes may chain to. */
  readonly issuers: ReadonlySet<string>;
  /** SHA-256 of every CA whose key is in it. */
  readonly signing: ReadonlySet<string>;
  /** 0 without a list. */
  readonly revocationVersion: number;
}

const DAY_MS = 86_400_000;
/** A CA that ends within this needs a rollover soon (requirement C5). */
const SHORT_CA_MS = 180 * DAY_MS;

/**
 * Whether each part of a backup can be used: keys belong to certificates, CAs are valid now, lists can be
 * read. Pure, quotes no value.
 */
export function checkBackup(backup: Backup, { clock }: { clock: Clock }): CheckedBackup {
  const findings: BackupFinding[] = [];
  const add = (level: BackupFinding['level'], what: string, text: string) =>
    void findings.push({ level, what, text });
  const attempt = <T>(what: string, task: () => T): T | undefined => {
    try {
      return task();
    } catch (error) {
      add('bad', what, describeError(error));
      return undefined;
    }
  };
  const issuers = new Set<string>();
  const signing = new Set<string>();
  let revocationVersion = 0;
  const trustCa = (certificate: X509Certificate) => {
    if (certificate.ca) issuers.add(sha256Hex(certificate.raw));
  };

  const readers: Record<Backup['secrets'][number]['role'], (secret: Secret) => void> = {
    ca: () => {}, // read below: without one there is nothing to check
    trust: (secret) => {
      const trusted = readClientTrust(secret);
      trusted.forEach(trustCa);
      add('ok', secret.name, `${trusted.length} further CA(s) whose edges are accepted`);
    },
    revocations: (secret) => {
      const list = decodeRevocations(secret);
      revocationVersion = list.version;
      add('ok', secret.name, `version ${list.version} of the revocations, ${list.entries.length} entries`);
    },
    tokens: (secret) => {
      const { usedTokens } = decodeTokenState(secret);
      add('ok', secret.name, `key of the enrolment tokens, ${usedTokens.size} used ones remembered`);
    },
    other: (secret) => {
      const { pairs, certificates, strayKeys } = findPairs(secret);
      certificates.forEach(trustCa);
      for (const { certificate } of pairs) if (certificate.ca) signing.add(sha256Hex(certificate.raw));
      if (strayKeys > 0)
        add('bad', secret.name, `${strayKeys} private key(s) belong to no certificate in it`);
      else
        add(
          'ok',
          secret.name,
          `${Object.keys(secret.data).length} value(s); ${certificates.length} certificate(s), ${pairs.length} with its key`,
        );
    },
  };
  const caSecret = findSecret(backup, 'ca');
  const ca = caSecret && attempt(caSecret.name, () => CertificateAuthority.fromSecret(caSecret, { clock }));
  if (ca && caSecret) {
    ca.all.forEach(trustCa);
    issuers.add(ca.certificate.sha256);
    signing.add(ca.certificate.sha256);
    lookAtDates(ca, clock.now(), (level, text) => add(level, caSecret.name, text));
  }
  for (const { role, secret } of backup.secrets) attempt(secret.name, () => readers[role](secret));
  for (const { role, name } of backup.missing) add(role === 'tokens' ? 'warn' : 'ok', name, MISSING[role]);
  return { findings, ca, issuers, signing, revocationVersion };
}

const MISSING = {
  ca: 'did not exist', // readForBackup makes no such backup
  trust: 'did not exist: no further CAs were accepted',
  revocations: 'did not exist: nobody had been revoked',
  tokens: 'did not exist: tokens that are on their way will not work',
  other: 'did not exist',
} as const;

function lookAtDates(
  { certificate: { subject, sha256, notBefore, notAfter } }: CertificateAuthority,
  now: number,
  add: (level: BackupFinding['level'], text: string) => void,
): void {
  const name = `CA ${oneLine(subject)}, SHA-256 ${sha256}`;
  const leftMs = notAfter.getTime() - now;
  if (leftMs <= 0) add('bad', `${name}: expired at ${notAfter.toISOString()}`);
  else if (now < notBefore.getTime()) add('bad', `${name}: not valid before ${notBefore.toISOString()}`);
  else
    add(
      leftMs < SHORT_CA_MS ? 'warn' : 'ok',
      `${name}: its key belongs to it, valid until ${notAfter.toISOString()} (${Math.floor(leftMs / DAY_MS)} days)`,
    );
}

export interface NodeCoverage {
  readonly connected: number;
  /** Nodes whose certificate chains to a CA of the backup. */
  readonly covered: number;
  readonly uncovered: readonly {
    readonly node: string;
    readonly issuer: string;
    readonly issuerSha256: string;
  }[];
}

/**
 * Which connected nodes would be let in with what the backup holds: their certificate verified against a CA
 * that is in it.
 */
export function coverNodes(
  nodes: readonly Pick<NodeInfo, 'node' | 'certificate'>[],
  issuers: ReadonlySet<string>,
): NodeCoverage {
  const uncovered = nodes
    .filter(({ certificate }) => !issuers.has(certificate.issuerSha256))
    .map(({ node, certificate: { issuer, issuerSha256 } }) => ({
      node,
      issuer: oneLine(issuer),
      issuerSha256,
    }));
  return { connected: nodes.length, covered: nodes.length - uncovered.length, uncovered };
}
