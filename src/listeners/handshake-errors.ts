import { fixOf, type HandshakeReason } from '../protocol/rejection-reasons.ts';

/** Why a TLS handshake failed, as label and as advice. */
export interface HandshakeFailure {
  /** Label of `handshake_failures_total`. */
  readonly reason: HandshakeReason | 'protocol';
  readonly fix: string;
}

/** Alerts of RFC 8446 §6 and local faults in OpenSSL's words (requirement B3). */
const TABLE: readonly (readonly [RegExp, HandshakeReason])[] = [
  [/ALERT.UNKNOWN.CA/, 'client-unknown-ca'],
  [/ALERT.CERTIFICATE.EXPIRED/, 'client-certificate-expired'],
  [
    /ALERT.(BAD.CERTIFICATE|CERTIFICATE.UNKNOWN|UNSUPPORTED.CERTIFICATE|CERTIFICATE.REVOKED|ACCESS.DENIED)/,
    'client-bad-certificate',
  ],
  [/ALERT/, 'client-alert'],
  [/HTTP.REQUEST/, 'plain-http'],
  [
    /UNSUPPORTED.PROTOCOL|VERSION.TOO.LOW|NO.SHARED.(CIPHER|GROUP)|NO.SUITABLE|UNKNOWN.PROTOCOL/,
    'no-common-tls',
  ],
  [/ECONNRESET|EPIPE|ETIMEDOUT|disconnected before secure/, 'disconnected'],
];

export function explainHandshakeError(error: Error): HandshakeFailure {
  const text = `${(error as NodeJS.ErrnoException).code ?? ''} ${error.message}`;
  // Codes are upper case with underscores, messages lower case with spaces.
  const known = TABLE.find(([pattern]) => pattern.test(text) || pattern.test(text.toUpperCase()));
  const reason = known?.[1] ?? 'protocol';
  return { reason, fix: fixOf(reason)! };
}
