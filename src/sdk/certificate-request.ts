import { generateKeyPairSync, sign } from 'node:crypto';
import { contextTag, der, integer, oid, sequence, TAG } from '../core/der.ts';
import { encodeDistinguishedName } from '../core/distinguished-name.ts';

export interface CertificateRequest {
  /** PKCS#8 PEM. */
  readonly key: string;
  /** PKCS#10, DER. */
  readonly csr: Uint8Array;
}

/** RFC 5758 section 3.2; the parameters are absent. */
const ECDSA_WITH_SHA256 = '1.2.840.10045.4.3.2';

/**
 * A fresh EC P-256 key and its certificate signing request (RFC 2986) for `node`, with the subject of
 * Kubernetes' nodes. Written by hand: an X.509 library would be most of what a node has to install.
 */
export function createCertificateRequest(node: string): CertificateRequest {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const info = sequence(
    integer(0),
    encodeDistinguishedName([
      ['O', 'system:nodes'],
      ['CN', `system:node:${node}`],
    ]),
    publicKey.export({ format: 'der', type: 'spki' }),
    der(contextTag(0)),
  );
  const signature = der(TAG.bitString, Buffer.of(0), sign('sha256', info, privateKey));
  return {
    key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    csr: sequence(info, sequence(oid(ECDSA_WITH_SHA256)), signature),
  };
}
