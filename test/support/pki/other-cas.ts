import 'reflect-metadata';
import { generateKeyPairSync, type KeyObject, webcrypto, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';

const ALGORITHMS = {
  'EC P-256': { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  'EC P-384': { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' },
  'RSA 2048': { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
} as const;
export type CaKind = keyof typeof ALGORITHMS;

/** A CA with another kind of key than `mintCa` makes, as an operator may bring one along. */
export async function mintCaOf(kind: CaKind): Promise<{ der: Buffer; pem: string; key: KeyObject }> {
  const { privateKey, publicKey } =
    kind === 'RSA 2048'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: kind.slice(3) });
  const algorithm = ALGORITHMS[kind];
  const signingKey = await webcrypto.subtle.importKey(
    'pkcs8',
    privateKey.export({ type: 'pkcs8', format: 'der' }),
    algorithm,
    false,
    ['sign'],
  );
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: '0400',
    subject: 'CN=KubeEdge',
    issuer: 'CN=KubeEdge',
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 364 * 86_400_000),
    publicKey: new x509.PublicKey(publicKey.export({ type: 'spki', format: 'der' })),
    signingKey,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.digitalSignature, true),
    ],
  });
  const der = Buffer.from(certificate.rawData);
  return { der, pem: new X509Certificate(der).toString(), key: privateKey };
}
