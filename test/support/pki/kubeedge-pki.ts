import 'reflect-metadata';
import { createHash, createPrivateKey, generateKeyPairSync, webcrypto, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { kubeEdgeToken } from './kubeedge-token.ts';
import type { Pair } from './pki.ts';

x509.cryptoProvider.set(webcrypto as never);
const DAY_MS = 86_400_000;
/** KubeEdge's `validalityPeriod`: 364 days × 100. */
const CENTURY_MS = 364 * 100 * DAY_MS;
const { keyEncipherment, digitalSignature, keyCertSign } = x509.KeyUsageFlags;
const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };

/**
 * A certificate as KubeEdge's cloud side makes them: no key identifiers, for leaves no basic constraints,
 * notBefore not backdated.
 */
async function kubeEdgeCertificate(wish: {
  subject: string;
  issuer?: Pair;
  lifeMs: number;
  serial?: string;
  usage?: string;
  names?: readonly string[];
}): Promise<Pair> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const signer = wish.issuer?.privateKey ?? privateKey;
  const isCa = wish.issuer === undefined;
  const now = Math.floor(Date.now() / 1000) * 1000;
  const extensions: x509.Extension[] = [
    new x509.KeyUsagesExtension(keyEncipherment | digitalSignature | (isCa ? keyCertSign : 0), true),
  ];
  if (isCa) extensions.push(new x509.BasicConstraintsExtension(true, undefined, true));
  if (wish.usage) extensions.push(new x509.ExtendedKeyUsageExtension([wish.usage]));
  if (wish.names)
    extensions.push(
      new x509.SubjectAlternativeNameExtension(
        wish.names.map((value) => ({ type: /^[\d.]+$|:/.test(value) ? 'ip' : 'dns', value })),
      ),
    );
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: wish.serial ?? '0400',
    subject: wish.subject,
    issuer: wish.issuer ? new x509.X509Certificate(wish.issuer.der).subject : wish.subject,
    notBefore: new Date(now),
    notAfter: new Date(now + wish.lifeMs),
    publicKey: await webcrypto.subtle.importKey(
      'spki',
      publicKey.export({ type: 'spki', format: 'der' }),
      algorithm,
      true,
      ['verify'],
    ),
    signingKey: await webcrypto.subtle.importKey(
      'pkcs8',
      signer.export({ type: 'pkcs8', format: 'der' }),
      algorithm,
      true,
      ['sign'],
    ),
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions,
  });
  const node = new X509Certificate(Buffer.from(certificate.rawData));
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  return {
    certificate: node,
    der: Buffer.from(node.raw),
    pem: node.toString(),
    key,
    privateKey: createPrivateKey(key),
    sha256: createHash('sha256').update(node.raw).digest('hex'),
  };
}

export interface KubeEdgeCluster {
  readonly ca: Pair;
  readonly hub: Pair;
  readonly token: string;
  /** Name → data in base64, as they are in namespace `kubeedge`. */
  readonly secrets: Readonly<Record<string, Readonly<Record<string, string>>>>;
  edge(node: string, subject?: string): Promise<Pair>;
}

/** What a running KubeEdge leaves in its namespace, and edges that it has enrolled. */
export async function kubeEdgeCluster(
  names: readonly string[],
  // Named as its CA: OpenSSL takes that for self-signed, Go does not.
  { hubSubject = 'CN=KubeEdge' }: { hubSubject?: string } = {},
): Promise<KubeEdgeCluster> {
  const ca = await kubeEdgeCertificate({ subject: 'CN=KubeEdge', lifeMs: CENTURY_MS });
  const hub = await kubeEdgeCertificate({
    subject: hubSubject,
    issuer: ca,
    lifeMs: CENTURY_MS,
    usage: x509.ExtendedKeyUsage.serverAuth as string,
    names,
    serial: '1f3a55',
  });
  const token = kubeEdgeToken(ca, Date.now() + DAY_MS);
  const sec1 = ({ privateKey }: Pair) =>
    privateKey.export({ type: 'sec1', format: 'der' }).toString('base64');
  return {
    ca,
    hub,
    token,
    secrets: {
      casecret: { cadata: ca.der.toString('base64'), cakeydata: sec1(ca) },
      cloudcoresecret: { cloudcoredata: hub.der.toString('base64'), cloudcorekeydata: sec1(hub) },
      tokensecret: { tokendata: Buffer.from(token).toString('base64') },
    },
    edge: (node, subject = `O=system:nodes, CN=system:node:${node}`) =>
      kubeEdgeCertificate({
        subject,
        issuer: ca,
        lifeMs: 365 * DAY_MS,
        usage: x509.ExtendedKeyUsage.clientAuth as string,
        serial: `1f${Buffer.from(node).toString('hex').slice(0, 16)}`,
      }),
  };
}
