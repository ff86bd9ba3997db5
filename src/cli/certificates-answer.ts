import type { CertificateStatus } from '../contracts/certificate-issuer.ts';

/** What `GET /api/v1/certificates` answers. */
export interface CertificatesAnswer extends CertificateStatus {
  readonly listeners: readonly {
    readonly name: string;
    readonly address: string;
    readonly servedFingerprint: string;
  }[];
}
