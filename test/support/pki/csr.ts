import 'reflect-metadata';
import { generateKeyPairSync, type KeyObject, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

x509.cryptoProvider.set(webcrypto as never);

export interface CsrOptions {
  readonly subject?: string;
  readonly keys?: KeyPair;
  readonly extensions?: readonly x509.Extension[];
}

export interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

export const ecKeys = (namedCurve = 'P-256'): KeyPair => generateKeyPairSync('ec', { namedCurve });
export const rsaKeys = (modulusLength = 2048, publicExponent = 65_537): KeyPair =>
  generateKeyPairSync('rsa', { modulusLength, publicExponent });

/** A certificate signing request as an edge node makes it, DER. Keys: EC P-256 or P-384, or RSA. */
export async function makeCsr({
  subject = 'C=CN, O=system:nodes, L=Hangzhou, ST=Zhejiang, CN=system:node:edge-1',
  keys = ecKeys(),
  extensions = [],
}: CsrOptions = {}): Promise<Buffer> {
  const rsa = keys.privateKey.asymmetricKeyType === 'rsa';
  const namedCurve = keys.privateKey.asymmetricKeyDetails?.namedCurve === 'secp384r1' ? 'P-384' : 'P-256';
  const algorithm = rsa
    ? { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
    : { name: 'ECDSA', namedCurve, hash: 'SHA-256' };
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: subject,
    keys: {
      privateKey: keys.privateKey.toCryptoKey(algorithm, true, ['sign']),
      publicKey: keys.publicKey.toCryptoKey(algorithm, true, ['verify']),
    } as never,
    signingAlgorithm: { name: algorithm.name, hash: 'SHA-256' },
    extensions: [...extensions],
  });
  return Buffer.from(request.rawData);
}
