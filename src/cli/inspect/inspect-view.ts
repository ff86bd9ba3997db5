import type { Terminal } from '../terminal.ts';
import type { CertificateDescription } from './describe-certificate.ts';
import type { Inspected } from './inspect.ts';

/** What a person reads. */
export function formatInspected(
  terminal: Terminal,
  { source, certificates, keys, endpoint }: Inspected,
): string {
  const { bold, green, red } = terminal.paint('stdout');
  const mark = (ok: boolean, text: string) => (ok ? green(text) : red(text));
  const blocks = certificates.map((one, index) =>
    [bold(`certificate ${index + 1} of ${certificates.length}`), ...describe(terminal, one)].join('\n'),
  );
  const tail = [
    ...keys.map(({ where, belongsTo, problem }) =>
      belongsTo
        ? `private key in ${where}: ${mark(true, `belongs to the certificate ${belongsTo.slice(0, 16)}…`)}`
        : `private key in ${where}: ${mark(false, problem ?? 'unknown')}`,
    ),
    ...(endpoint
      ? [
          `handshake: ${endpoint.protocol}, ${endpoint.cipher}${endpoint.servername ? `, asked for ${endpoint.servername}` : ''}`,
          `verified:  ${mark(endpoint.verified, endpoint.verified ? 'yes' : 'no')}, ${endpoint.verdict}`,
        ]
      : []),
  ];
  return [bold(source), ...blocks, ...(tail.length > 0 ? [tail.join('\n')] : [])].join('\n\n');
}

function describe(terminal: Terminal, one: CertificateDescription): string[] {
  const { yellow } = terminal.paint('stdout');
  const lines: readonly (readonly [string, string | undefined])[] = [
    ['subject', one.subject],
    ['issuer', one.selfSigned ? `${one.issuer} (itself)` : one.issuer],
    ['serial', one.serial],
    ['sha256', one.sha256],
    ['key', one.key],
    ['ca', one.isCa ? 'yes' : 'no'],
    ['names', one.names.join(', ')],
    ['usages', [...one.keyUsages, ...one.extendedKeyUsages].join(', ')],
    ['valid from', one.notBefore],
    [
      'valid until',
      `${one.notAfter} (${one.daysLeft} days left, ${Math.round(one.lifeUsed * 100)} % of its life used)`,
    ],
    ['key id', one.subjectKeyId],
    ['authority', one.authorityKeyId],
  ];
  return [
    ...lines.flatMap(([label, text]) => (text ? [`  ${label.padEnd(12)} ${text}`] : [])),
    ...one.warnings.map((text) => `  ${yellow('warning')}      ${text}`),
  ];
}
