import { constants } from 'node:crypto';
import type { SecureContextOptions, TlsOptions } from 'node:tls';
import type { CertificateBundle } from '../contracts/certificate-source.ts';
import { SallyportError } from '../core/errors.ts';

export interface TlsPolicy {
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
  /** OpenSSL list for TLS 1.2, AEAD suites only; undefined takes the default. */
  readonly ciphers?: string | undefined;
  /** OpenSSL's list of groups for the key exchange; `tls.groups` of the configuration. */
  readonly groups: string;
}

/** TLS 1.3 has AEAD suites only. AES-128 first: the cheapest with hardware, as strong as P-256. */
const TLS13 = 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256';
/** RFC 9325 §4.2: forward secrecy and AEAD; each for EC and for RSA hub certificates (requirement L4). */
const TLS12 = [
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');
const AEAD = /^EC?DHE-[A-Z0-9-]*(GCM-SHA(256|384)|CCM8?|CHACHA20-POLY1305)$/;

/**
 * The only place that turns a bundle into TLS options; the same at start and at each swap, because
 * `setSecureContext` replaces everything and forgets what is left out. Pure.
 *
 * - `ca: []`: no CA names are sent, so a peer always presents what it has (Go's crypto/tls keeps a
 *   certificate back when its issuer is not named, and an edge of a removed CA could not be told why), and
 *   OpenSSL does not verify what the gate verifies by itself. `authorized` of a socket is therefore always
 *   false and means nothing: only `PeerGate` lets anyone in.
 * - No resumption: no tickets (`SSL_OP_NO_TICKET`), and no `resumeSession` handler that could find a session
 *   by its id. A resumed session would outlive a change of trust.
 * @throws CONFIG_INVALID when `policy.ciphers` holds anything but ECDHE or DHE suites with AEAD
 */
export function tlsOptions(bundle: CertificateBundle, policy: TlsPolicy): SecureContextOptions {
  return {
    cert: bundle.server.cert,
    key: bundle.server.key,
    ca: [],
    minVersion: policy.minVersion,
    maxVersion: 'TLSv1.3',
    ciphers: `${TLS13}:${tls12Ciphers(policy)}`,
    honorCipherOrder: true,
    ecdhCurve: policy.groups,
    // Renegotiation (TLS 1.2) could change the peer certificate after the gate has looked.
    secureOptions:
      constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION,
  };
}

/**
 * What a TLS server asks of its clients: a certificate, and the gate decides about it. Does not change at a
 * swap.
 */
export const CLIENT_AUTH = { requestCert: true, rejectUnauthorized: false } as const satisfies TlsOptions;

function tls12Ciphers({ ciphers }: TlsPolicy): string {
  if (ciphers === undefined || ciphers === '') return TLS12;
  for (const suite of ciphers.split(':')) {
    if (!AEAD.test(suite))
      throw new SallyportError('CONFIG_INVALID', {
        problem: `tls.ciphers holds ${suite.slice(0, 60)}, which is not an ECDHE or DHE suite with AEAD`,
      });
  }
  return ciphers;
}
