import type { CertificateOptions } from '../../../src/certs/prepare-all-certs.ts';

/** The defaults of the configuration, with names of Secrets as KubeEdge has them. */
export const certificateOptions: CertificateOptions = {
  caSecret: 'casecret',
  hubSecret: 'cloudcoresecret',
  hubSecretManaged: true,
  trustSecret: 'sallyport-trust',
  rolloverSecret: 'sallyport-rollover',
  caDays: 3650,
  hubDays: 90,
  renewFraction: 2 / 3,
  backdateMs: 3_600_000,
};
