import 'reflect-metadata';
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  webcrypto,
  X509Certificate,
} from 'node:crypto';
import * as x509 from '@peculiar/x509';
import type { CaCertificate } from '../../../src/contracts/certificate-source.ts';

x509.cryptoProvider.set(webcrypto as never);
const DAY_MS = 86_400_000;
const signing = { name: 'ECDSA', hash: 'SHA-256' };

export const OID = { serverAuth: '1.3.6.1.5.5.7.3.1', clientAuth: '1.3.6.1.5.5.7.3.2' } as const;

/** A certificate and key made in memory for one test. */
export interface Pair {
  readonly certificate: X509Certificate;
  readonly der: Buffer;
  readonly pem: string;
  /** PKCS#8 PEM. */
  readonly key: string;
  readonly privateKey: KeyObject;
  readonly sha256: string;
}

/** Certificate and key as the Secrets of KubeEdge hold them: DER, and SEC 1 in DER. */
export function storedPair(der: Buffer, sec1: Buffer): Pair {
  const privateKey = createPrivateKey({ key: sec1, format: 'der', type: 'sec1' });
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  return pairOf(new X509Certificate(der), { key, privateKey });
}

function pairOf(certificate: X509Certificate, { key, privateKey }: Pick<Pair, 'key' | 'privateKey'>): Pair {
  return {
    certificate,
    der: Buffer.from(certificate.raw),
    pem: certificate.toString(),
    key,
    privateKey,
    sha256: createHash('sha256').update(certificate.raw).digest('hex'),
  };
}

export interface CertOptions {
  readonly subject?: string;
  readonly issuer?: Pair;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** DNS names and IP addresses. */
  readonly names?: readonly string[];
  /** OIDs of the extended key usage; empty for none. */
  readonly usages?: readonly string[];
  readonly isCa?: boolean;
  /** KubeEdge's CAs lack cRLSign; default: of a CA, true. */
  readonly crlSign?: boolean;
  /** Hexadecimal. */
  readonly serial?: string;
  /** KubeEdge's CAs have no key identifiers. */
  readonly keyIdentifiers?: boolean;
  /** PKCS#8 or SEC1 PEM to use instead of a fresh EC P-256 key. */
  readonly key?: string;
  /** A public key of somebody else's, SPKI DER of RSA; the certificate's own key does not fit then. */
  readonly rsaPublicKey?: Uint8Array;
  /** Hash of the signature; SHA-256 by default. */
  readonly hash?: 'SHA-1' | 'SHA-256';
  /** False: a certificate for a node without digitalSignature in its key usage. */
  readonly digitalSignature?: boolean;
  /** Besides those the other options make. */
  readonly extensions?: readonly x509.Extension[];
}

/** One that no client knows and none may ignore (RFC 5280 section 4.2). */
export const unknownCriticalExtension = () =>
  new x509.Extension('1.3.6.1.4.1.32473.1', true, Uint8Array.of(0x05, 0x00));

/** Mints any certificate, valid or deliberately not. */
export async function mint(options: CertOptions = {}): Promise<Pair> {
  const key =
    options.key ??
    generateKeyPairSync('ec', { namedCurve: 'P-256' })
      .privateKey.export({ type: 'pkcs8', format: 'pem' })
      .toString();
  const own = await importPair(key);
  const issuerKeys = options.issuer ? await importPair(options.issuer.key) : own;
  const extensions: x509.Extension[] = [
    new x509.BasicConstraintsExtension(options.isCa ?? false, undefined, true),
  ];
  extensions.push(
    new x509.KeyUsagesExtension(
      options.isCa
        ? x509.KeyUsageFlags.keyCertSign |
            (options.crlSign === false ? 0 : x509.KeyUsageFlags.cRLSign) |
            x509.KeyUsageFlags.digitalSignature
        : options.digitalSignature === false
          ? x509.KeyUsageFlags.keyEncipherment
          : x509.KeyUsageFlags.digitalSignature,
      true,
    ),
  );
  if (options.usages?.length) extensions.push(new x509.ExtendedKeyUsageExtension([...options.usages]));
  if (options.names?.length) {
    extensions.push(
      new x509.SubjectAlternativeNameExtension(
        options.names.map((value) => ({
          type: /^[\d.]+$|:/.test(value) ? ('ip' as const) : ('dns' as const),
          value,
        })),
      ),
    );
  }
  if (options.keyIdentifiers !== false) {
    extensions.push(await x509.SubjectKeyIdentifierExtension.create(own.publicKey));
    extensions.push(await x509.AuthorityKeyIdentifierExtension.create(issuerKeys.publicKey));
  }
  extensions.push(...(options.extensions ?? []));
  const issuerName = options.issuer ? new x509.X509Certificate(options.issuer.der).subjectName : undefined;
  const subject = new x509.Name(options.subject ?? 'CN=test');
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: options.serial ?? `01${randomBytes(8).toString('hex')}`,
    subject: subject.toJSON(),
    issuer: (issuerName ?? subject).toJSON(),
    notBefore: options.notBefore ?? new Date(Date.now() - 3_600_000),
    notAfter: options.notAfter ?? new Date(Date.now() + 30 * DAY_MS),
    publicKey: options.rsaPublicKey ? await importRsa(options.rsaPublicKey) : own.publicKey,
    signingKey: issuerKeys.privateKey,
    signingAlgorithm: { ...signing, hash: options.hash ?? signing.hash },
    extensions,
  });
  const node = new X509Certificate(Buffer.from(certificate.rawData));
  return pairOf(node, { key, privateKey: createPrivateKey(key) });
}

export const mintCa = (options: CertOptions = {}): Promise<Pair> =>
  mint({ subject: 'CN=KubeEdge', isCa: true, notAfter: new Date(Date.now() + 3650 * DAY_MS), ...options });

export const mintServer = (issuer: Pair, options: CertOptions = {}): Promise<Pair> =>
  mint({
    subject: 'CN=sallyport',
    issuer,
    names: ['localhost', '127.0.0.1', '::1'],
    usages: [OID.serverAuth],
    ...options,
  });

export const mintEdge = (issuer: Pair, node: string, options: CertOptions = {}): Promise<Pair> =>
  mint({ subject: `O=system:nodes,CN=system:node:${node}`, issuer, usages: [OID.clientAuth], ...options });

export function asCaCertificate(ca: Pair): CaCertificate {
  return {
    pem: ca.pem,
    der: ca.der,
    sha256: ca.sha256,
    subject: ca.certificate.subject,
    notBefore: new Date(ca.certificate.validFrom),
    notAfter: new Date(ca.certificate.validTo),
  };
}

/** The public key of nobody, of any size, SPKI DER: what a stranger can put into a certificate. */
export function hugeRsaKey(bits: number): Uint8Array {
  const modulus = randomBytes(bits / 8);
  modulus[0]! |= 0x80;
  modulus[modulus.length - 1]! |= 1;
  const jwk = { kty: 'RSA', n: modulus.toString('base64url'), e: 'AQAB' };
  return createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'der' });
}

function importRsa(spki: Uint8Array): Promise<webcrypto.CryptoKey> {
  const algorithm = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
  return webcrypto.subtle.importKey('spki', Buffer.from(spki), algorithm, true, ['verify']);
}

async function importPair(pem: string): Promise<CryptoKeyPair> {
  const pkcs8 = createPrivateKey(pem).export({ type: 'pkcs8', format: 'der' });
  const spki = createPublicKey(pem).export({ type: 'spki', format: 'der' });
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  return {
    privateKey: await webcrypto.subtle.importKey('pkcs8', pkcs8, algorithm, true, ['sign']),
    publicKey: await webcrypto.subtle.importKey('spki', spki, algorithm, true, ['verify']),
  } as CryptoKeyPair;
}

type CryptoKeyPair = { privateKey: webcrypto.CryptoKey; publicKey: webcrypto.CryptoKey };
