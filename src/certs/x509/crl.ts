import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import { allowsKeyUsage, CRL_SIGN } from '../../core/certificate-extensions.ts';
import { integer } from '../../core/der.ts';
import { REVOCATION_REASONS, type RevocationReason } from '../../identity/revocation-reasons.ts';
import { keyIdentifierOf, type Signer, signatureOf } from './certificate-signer.ts';

export interface CrlContent {
  /** Grows with each CRL that says something else or lives longer (RFC 5280 §5.2.3); at most 20 octets. */
  readonly number: bigint;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  readonly entries: readonly {
    /** Hexadecimal. */
    readonly serial: string;
    readonly at: Date;
    readonly reason: RevocationReason;
  }[];
}

/** OIDs of RFC 5280 §5.2.3. */
const CRL_NUMBER = '2.5.29.20';

/** A complete CRL, version 2, of what `signer` has issued (RFC 5280 §5). @returns DER */
export async function signCrl(
  content: CrlContent,
  signer: Required<Signer> & { certificate: NonNullable<Signer['certificate']> },
): Promise<Uint8Array> {
  const issuer = new x509.X509Certificate(signer.certificate.raw);
  const { algorithm, hash } = signatureOf(signer.key);
  const crl = await x509.X509CrlGenerator.create({
    issuer: issuer.subjectName,
    thisUpdate: content.thisUpdate,
    nextUpdate: content.nextUpdate,
    // No reason at all instead of `unspecified` (RFC 5280 §5.3.1).
    entries: content.entries.map(({ serial, at, reason }) => ({
      serialNumber: serial.length % 2 === 0 ? serial : `0${serial}`,
      revocationDate: at,
      ...(reason === 'unspecified' ? {} : { reason: REVOCATION_REASONS[reason] }),
    })),
    extensions: [
      new x509.AuthorityKeyIdentifierExtension(keyIdentifierOf(signer.certificate).toString('hex')),
      new x509.Extension(CRL_NUMBER, false, new Uint8Array(integer(content.number))),
    ],
    signingKey: signer.key.toCryptoKey(algorithm, false, ['sign']),
    signingAlgorithm: { name: algorithm.name, hash },
  });
  return new Uint8Array(crl.rawData);
}

/**
 * Whether the key usages of the certificate allow it to sign CRLs (RFC 5280 §4.2.1.3); without the extension
 * everything is allowed.
 */
export function maySignCrl(certificate: Uint8Array): boolean {
  return allowsKeyUsage(certificate, CRL_SIGN);
}
