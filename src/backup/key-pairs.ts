import type { KeyObject, X509Certificate } from 'node:crypto';
import { parseCertificates } from '../certs/x509/certificate-chain.ts';
import { parsePrivateKey } from '../certs/x509/private-key.ts';
import type { Secret } from '../contracts/secret-store.ts';

export interface FoundPairs {
  readonly certificates: readonly X509Certificate[];
  /** Certificates whose private key is there as well. */
  readonly pairs: readonly { readonly certificate: X509Certificate }[];
  /** Private keys without a certificate. */
  readonly strayKeys: number;
}

/**
 * The certificates and private keys among the values of a Secret, whatever its keys are called. Never throws.
 */
export function findPairs({ data }: Pick<Secret, 'data'>): FoundPairs {
  const values = Object.values(data);
  const certificates = values.flatMap((bytes) =>
    tryOr((): X509Certificate[] => parseCertificates(bytes, 'a value'), []),
  );
  const keys = values.flatMap((bytes) => tryOr((): KeyObject[] => [parsePrivateKey(bytes, 'a value')], []));
  const owned = keys.map((key) => certificates.filter((certificate) => certificate.checkPrivateKey(key)));
  return {
    certificates,
    pairs: [...new Set(owned.flat())].map((certificate) => ({ certificate })),
    strayKeys: owned.filter((of) => of.length === 0).length,
  };
}

function tryOr<T>(task: () => T, otherwise: T): T {
  try {
    return task();
  } catch {
    return otherwise;
  }
}
