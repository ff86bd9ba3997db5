import type { Unsubscribe } from '../core/property.ts';

/**
 * The immutable, validated set that a listener serves with. Two bundles with an equal `fingerprint` are equal
 * in every part.
 */
export interface CertificateBundle {
  /** SHA-256 over all parts, lower-case hexadecimal. */
  readonly fingerprint: string;
  readonly server: ServerCertificate;
  /** The CA that `/ca.crt` hands out and that new edge certificates come from. */
  readonly ca: CaCertificate;
  /** Every CA whose edges are accepted. Each stands on its own (requirement C2). */
  readonly clientCAs: readonly CaCertificate[];
  /** When the first of the server chain ends. */
  readonly notAfter: Date;
}

export interface ServerCertificate {
  /** PEM, leaf first, then intermediates. */
  readonly cert: string;
  /** PEM, PKCS#8. */
  readonly key: string;
  /** SHA-256 of the leaf's DER, lower-case hexadecimal. */
  readonly sha256: string;
  readonly serial: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** DNS names and IP addresses of the leaf, as `advertise.addresses` writes them. */
  readonly names: readonly string[];
  readonly issuer: string;
}

export interface CaCertificate {
  readonly pem: string;
  readonly der: Uint8Array;
  /** SHA-256 of `der`, lower-case hexadecimal. Join tokens carry it. */
  readonly sha256: string;
  readonly subject: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** Where listeners get their certificates. A listener holds the source and never a certificate. */
export interface CertificateSource {
  current(): CertificateBundle;
  onChange(listener: (next: CertificateBundle, previous: CertificateBundle) => void): Unsubscribe;
}
