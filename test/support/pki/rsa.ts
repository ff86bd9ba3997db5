import { createHash, createPrivateKey, generateKeyPairSync, webcrypto, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { OID, type Pair } from './pki.ts';

/** A hub certificate with an RSA 2048 key, issued by an EC CA. */
export async function mintRsaServer(issuer: Pair): Promise<Pair> {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const ecdsa = { name: 'ECDSA', namedCurve: 'P-256' };
  const signingKey = await webcrypto.subtle.importKey(
    'pkcs8',
    createPrivateKey(issuer.key).export({ type: 'pkcs8', format: 'der' }),
    ecdsa,
    false,
    ['sign'],
  );
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: '0102030405',
    subject: 'CN=sallyport',
    issuer: new x509.X509Certificate(issuer.der).subject,
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 86_400_000),
    publicKey: new x509.PublicKey(publicKey.export({ type: 'spki', format: 'der' })),
    signingKey,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: [
      new x509.ExtendedKeyUsageExtension([OID.serverAuth]),
      new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: 'localhost' }]),
    ],
  });
  const node = new X509Certificate(Buffer.from(certificate.rawData));
  return {
    certificate: node,
    der: Buffer.from(node.raw),
    pem: node.toString(),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    privateKey,
    sha256: createHash('sha256').update(node.raw).digest('hex'),
  };
}
