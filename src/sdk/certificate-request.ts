import { createPrivateKey, webcrypto } from 'node:crypto';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' };

export interface CertificateRequest {
  /** PKCS#8 PEM. */
  readonly key: string;
  /** PKCS#10, DER. */
  readonly csr: Uint8Array;
}

/**
 * A fresh EC P-256 key and its certificate signing request for `node`, with the subject of Kubernetes' nodes.
 * The X.509 library is loaded only here, when a certificate is due: once a join and once a renewal.
 */
export async function createCertificateRequest(node: string): Promise<CertificateRequest> {
  await import('reflect-metadata');
  const { Pkcs10CertificateRequestGenerator } = await import('@peculiar/x509');
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const request = await Pkcs10CertificateRequestGenerator.create(
    {
      name: [{ O: ['system:nodes'] }, { CN: [`system:node:${node}`] }],
      keys,
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    },
    webcrypto as never,
  );
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  return {
    key: createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
      .export({ format: 'pem', type: 'pkcs8' })
      .toString(),
    csr: new Uint8Array(request.rawData),
  };
}
