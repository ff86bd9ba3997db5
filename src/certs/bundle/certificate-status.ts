import { X509Certificate } from 'node:crypto';
import type { CertificateInfo } from '../../contracts/certificate-issuer.ts';
import type { CaCertificate, CertificateBundle } from '../../contracts/certificate-source.ts';
import type { Metrics } from '../../core/metrics.ts';
import { namesOf, oneLine } from '../x509/certificate-names.ts';
import { sha256Hex } from '../x509/certificate-signer.ts';

interface Secrets {
  readonly caSecret: string;
  readonly hubSecret: string;
  readonly trustSecret: string;
  readonly rolloverSecret: string;
}

/**
 * The certificates of a bundle as the admin listener shows them: the CA, the hub's, then every further client
 * CA.
 */
export function describeBundle(
  bundle: CertificateBundle,
  {
    secrets,
    hubManaged,
    rollover,
    own,
  }: {
    secrets: Secrets;
    hubManaged: boolean;
    /** SHA-256 of the CAs that are kept in the Secret of the rollover. */
    rollover: ReadonlySet<string>;
    /** SHA-256 of the CA of the CA Secret. */
    own: string;
  },
): CertificateInfo[] {
  const ca = (one: CaCertificate) => new X509Certificate(one.der);
  const secretOf = ({ sha256 }: CaCertificate, other: string) =>
    rollover.has(sha256) ? secrets.rolloverSecret : other;
  const others = bundle.clientCAs.filter(({ sha256 }) => sha256 !== bundle.ca.sha256);
  return [
    describe(ca(bundle.ca), {
      kind: 'ca',
      secret: secretOf(bundle.ca, secrets.caSecret),
      managed: false,
      external: false,
    }),
    describe(new X509Certificate(bundle.server.cert), {
      kind: 'hub',
      secret: secrets.hubSecret,
      managed: hubManaged,
      external: !hubManaged,
    }),
    ...others.map((one) => {
      const secret = secretOf(one, one.sha256 === own ? secrets.caSecret : secrets.trustSecret);
      const external = secret === secrets.trustSecret;
      return describe(ca(one), { kind: 'client-ca', secret, managed: false, external });
    }),
  ];
}

/** Writes the validity of what is in use (requirement L1); what is not in use any more disappears. */
export function publishValidity(metrics: Metrics, certificates: readonly CertificateInfo[]): void {
  metrics.certificateNotAfter.reset();
  metrics.certificateNotBefore.reset();
  for (const { kind, subject, serial, notAfter, notBefore } of certificates) {
    metrics.certificateNotAfter.set({ kind, subject, serial }, Date.parse(notAfter) / 1000);
    metrics.certificateNotBefore.set({ kind, subject, serial }, Date.parse(notBefore) / 1000);
  }
}

function describe(
  certificate: X509Certificate,
  what: Pick<CertificateInfo, 'kind' | 'secret' | 'managed' | 'external'>,
): CertificateInfo {
  return {
    ...what,
    subject: oneLine(certificate.subject),
    issuer: oneLine(certificate.issuer),
    serial: certificate.serialNumber,
    sha256: sha256Hex(certificate.raw),
    notBefore: certificate.validFromDate.toISOString(),
    notAfter: certificate.validToDate.toISOString(),
    names: namesOf(certificate),
  };
}
