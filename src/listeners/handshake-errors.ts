/** Why a TLS handshake failed, as label and as advice. */
export interface HandshakeFailure {
  /** Label of `handshake_failures_total`. */
  readonly reason:
    | 'client-unknown-ca'
    | 'client-bad-certificate'
    | 'client-certificate-expired'
    | 'client-alert'
    | 'plain-http'
    | 'no-common-tls'
    | 'disconnected'
    | 'protocol';
  readonly fix: string;
}

/** Alerts of RFC 8446 §6 in OpenSSL's words, and what an operator can do about each (requirement B3). */
const TABLE: readonly (readonly [RegExp, HandshakeFailure])[] = [
  [
    /ALERT.UNKNOWN.CA/,
    {
      reason: 'client-unknown-ca',
      fix: 'the client does not know the CA of the hub certificate: it joined another hub, or before the CA was replaced; let it join again',
    },
  ],
  [
    /ALERT.CERTIFICATE.EXPIRED/,
    {
      reason: 'client-certificate-expired',
      fix: 'for the clock of the client the hub certificate has expired or is not valid yet; compare the clocks',
    },
  ],
  [
    /ALERT.(BAD.CERTIFICATE|CERTIFICATE.UNKNOWN|UNSUPPORTED.CERTIFICATE|CERTIFICATE.REVOKED|ACCESS.DENIED)/,
    {
      reason: 'client-bad-certificate',
      fix: 'the client refuses the hub certificate, most often because the name or address it uses is not among the names served; add it to advertise.addresses',
    },
  ],
  [/ALERT/, { reason: 'client-alert', fix: 'the log of the client says why it ended the handshake' }],
  [/HTTP.REQUEST/, { reason: 'plain-http', fix: 'the client speaks plain HTTP; use https or wss' }],
  [
    /UNSUPPORTED.PROTOCOL|VERSION.TOO.LOW|NO.SHARED.(CIPHER|GROUP)|NO.SUITABLE|UNKNOWN.PROTOCOL/,
    {
      reason: 'no-common-tls',
      fix: 'the client offers no TLS 1.2 or 1.3 with AEAD suites; update it, or see tls.minVersion and tls.ciphers',
    },
  ],
  [
    /ECONNRESET|EPIPE|ETIMEDOUT|disconnected before secure/,
    {
      reason: 'disconnected',
      fix: 'the client closed the connection during the handshake; its log may say why',
    },
  ],
];

const OTHER: HandshakeFailure = {
  reason: 'protocol',
  fix: 'what the client sent is not TLS; check which protocol it speaks on this port',
};

export function explainHandshakeError(error: Error): HandshakeFailure {
  const text = `${(error as NodeJS.ErrnoException).code ?? ''} ${error.message}`;
  // Codes are upper case with underscores, messages lower case with spaces.
  return TABLE.find(([pattern]) => pattern.test(text) || pattern.test(text.toUpperCase()))?.[1] ?? OTHER;
}
