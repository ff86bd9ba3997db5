import 'reflect-metadata';
import { generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import type { CaCertificate } from '../../contracts/certificate-source.ts';
import type { Secret } from '../../contracts/secret-store.ts';
import { allowsKeyUsage, KEY_CERT_SIGN } from '../../core/certificate-extensions.ts';
import { type Clock, systemClock } from '../../core/clock.ts';
import { DerReader, oid } from '../../core/der.ts';
import type { DistinguishedName } from '../../core/distinguished-name.ts';
import { describeError, SallyportError } from '../../core/errors.ts';
import { ADMIN_ORGANIZATIONS } from '../../identity/admin-gate.ts';
import { isNodeName } from '../../protocol/node-name.ts';
import type { AdvertisedNames } from '../x509/advertised-names.ts';
import { parseCertificates } from '../x509/certificate-chain.ts';
import {
  keyIdentifierOf,
  type SignedCertificate,
  sha256Hex,
  signCertificate,
} from '../x509/certificate-signer.ts';
import { type CrlContent, maySignCrl, signCrl } from '../x509/crl.ts';
import { keyToDer, parsePrivateKey } from '../x509/private-key.ts';
import type { IssueAdminOptions } from './admin-certificate.ts';

const DAY_MS = 86_400_000;
/** Edges with slow clocks must be able to use what was made a moment ago (requirement B8). */
const CA_BACKDATE_MS = 3_600_000;
const USAGE_OIDS = {
  serverAuth: x509.ExtendedKeyUsage.serverAuth,
  clientAuth: x509.ExtendedKeyUsage.clientAuth,
} as const;

/** OID of RFC 8017 appendix C. */
const RSA_ENCRYPTION = oid('1.2.840.113549.1.1.1');

export type KeyUsage = keyof typeof USAGE_OIDS;

export interface IssueEdgeOptions {
  /** SPKI, DER: the key of the CSR, already checked. */
  readonly publicKey: Uint8Array;
  readonly nodeName: string;
  readonly usages: readonly KeyUsage[];
  readonly days: number;
  readonly backdateMs: number;
}

export interface IssuedLeaf extends SignedCertificate {
  readonly issuerSha256: string;
}

export interface IssueServerOptions {
  readonly names: AdvertisedNames;
  readonly days: number;
  readonly backdateMs: number;
}

/**
 * The root of the fleet: certificate and key of Secret `casecret`, in KubeEdge's keys `cadata` and
 * `cakeydata` (KubeEdge: cloud/pkg/cloudhub/servers/httpserver/certificate.go). Immutable; issues leaves, and
 * signs another CA only for the sake of a rollover.
 */
export class CertificateAuthority {
  readonly certificate: CaCertificate;
  /** Where it is stored, for messages. */
  readonly secretName: string;
  readonly x509: X509Certificate;
  /** Every certificate of `cadata`; the first is `certificate`. */
  readonly all: readonly X509Certificate[];
  /** The bytes of `cakeydata` as stored: the HMAC key of KubeEdge's tokens. */
  readonly rawKey: Uint8Array;
  readonly #rawCertificate: Uint8Array;
  readonly #key: KeyObject;
  readonly #clock: Clock;

  private constructor(parts: {
    clock: Clock;
    certificates: readonly [X509Certificate, ...X509Certificate[]];
    rawCertificate: Uint8Array;
    key: KeyObject;
    rawKey: Uint8Array;
    secretName: string;
  }) {
    this.secretName = parts.secretName;
    this.#clock = parts.clock;
    this.#key = parts.key;
    this.#rawCertificate = parts.rawCertificate;
    this.rawKey = parts.rawKey;
    this.all = parts.certificates;
    this.x509 = parts.certificates[0];
    this.certificate = toCaCertificate(this.x509);
  }

  /** A new EC P-256 root, named as KubeEdge names its own, with cRLSign, which KubeEdge's lacks. */
  static async create(
    { clock }: { clock: Clock },
    { days, subject = 'CN=KubeEdge' }: { days: number; subject?: string },
  ): Promise<CertificateAuthority> {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { keyCertSign, cRLSign, digitalSignature } = x509.KeyUsageFlags;
    const { der } = signCertificate(
      {
        subject: new x509.Name(subject),
        publicKey: publicKey.export({ type: 'spki', format: 'der' }),
        notBefore: new Date(clock.now() - CA_BACKDATE_MS),
        notAfter: new Date(clock.now() + days * DAY_MS),
        extensions: [
          new x509.BasicConstraintsExtension(true, undefined, true),
          new x509.KeyUsagesExtension(keyCertSign | cRLSign | digitalSignature, true),
        ],
      },
      { key: privateKey, certificate: undefined },
    );
    return new CertificateAuthority({
      clock,
      certificates: [new X509Certificate(der)],
      rawCertificate: der,
      key: privateKey,
      rawKey: keyToDer(privateKey),
      secretName: 'not stored yet',
    });
  }

  /**
   * Adopts a stored CA as it is. Dates are not looked at here: whoever uses it does.
   * @throws SECRET_KEY_MISSING, SECRET_MALFORMED, KEY_UNREADABLE, KEY_ENCRYPTED, KEY_TOO_WEAK, CA_INVALID
   */
  static fromSecret(
    secret: Secret,
    { clock }: { clock: Clock } = { clock: systemClock },
  ): CertificateAuthority {
    const rawCertificate = required(secret, 'cadata');
    const rawKey = required(secret, 'cakeydata');
    const certificates = readCertificates(secret.name, rawCertificate);
    const key = parsePrivateKey(rawKey, `cakeydata of secret ${secret.name}`);
    const problem = caProblem(certificates[0], key);
    if (problem !== undefined) throw new SallyportError('CA_INVALID', { secret: secret.name, problem });
    return new CertificateAuthority({
      clock,
      certificates,
      rawCertificate,
      key,
      rawKey,
      secretName: secret.name,
    });
  }

  toSecret(name: string): Secret {
    return { name, type: 'Opaque', data: { cadata: this.#rawCertificate, cakeydata: this.rawKey } };
  }

  /**
   * A hub certificate with a fresh EC P-256 key, which never outlives the CA (requirement B4). @throws
   * CA_INVALID
   */
  async issueServer(options: IssueServerOptions): Promise<{ certDer: Uint8Array; keySec1Der: Uint8Array }> {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { der } = await this.#issueLeaf(options, {
      subject: [
        ['O', 'Sallyport'],
        ['CN', 'sallyport-hub'],
      ],
      publicKey: publicKey.export({ type: 'spki', format: 'der' }),
      usages: ['serverAuth'],
      more: [
        new x509.SubjectAlternativeNameExtension([
          ...options.names.dns.map((value) => ({ type: 'dns' as const, value })),
          ...options.names.ips.map((value) => ({ type: 'ip' as const, value })),
        ]),
      ],
    });
    return { certDer: der, keySec1Der: keyToDer(privateKey) };
  }

  /**
   * An edge certificate; its subject is always `O=system:nodes, CN=system:node:<name>`. @throws
   * NODE_NAME_INVALID, CA_INVALID
   */
  async issueEdge(options: IssueEdgeOptions): Promise<IssuedLeaf> {
    if (!isNodeName(options.nodeName)) throw new SallyportError('NODE_NAME_INVALID');
    const leaf = await this.#issueLeaf(options, {
      subject: [
        ['O', 'system:nodes'],
        ['CN', `system:node:${options.nodeName}`],
      ],
      publicKey: options.publicKey,
      usages: options.usages,
      more: [],
    });
    return { ...leaf, issuerSha256: this.certificate.sha256 };
  }

  /** A client certificate of an administrator (`identity/admin-gate.ts` reads it). @throws CA_INVALID */
  async issueAdmin(options: IssueAdminOptions): Promise<{ der: Uint8Array; serial: string; notAfter: Date }> {
    return this.#issueLeaf(options, {
      subject: [
        ['O', ADMIN_ORGANIZATIONS[options.role]],
        ['CN', options.name],
      ],
      publicKey: options.publicKey,
      usages: ['clientAuth'],
      more: [],
    });
  }

  /** Whether the certificate of the CA allows it to sign CRLs; KubeEdge's does not. */
  get maySignCrl(): boolean {
    return maySignCrl(this.x509.raw);
  }

  /** A CRL of what this CA has issued, DER. */
  signCrl(content: CrlContent): Promise<Uint8Array> {
    return signCrl(content, { key: this.#key, certificate: this.x509 });
  }

  /**
   * The other CA's name and key under this CA's signature: whoever knows only this CA verifies with it what
   * the other one issued. It lives as long as both of them (RFC 5280 section 3.2: a cross-certificate).
   * @throws CA_INVALID when this CA has expired, or may sign no CA (pathLenConstraint 0, RFC 5280 section
   * 4.2.1.9)
   */
  async crossSign(other: CertificateAuthority): Promise<X509Certificate> {
    const limit = new x509.X509Certificate(this.x509.raw).getExtension(
      x509.BasicConstraintsExtension,
    )?.pathLength;
    const problem =
      limit === 0
        ? 'its certificate may sign no other CA (pathLenConstraint is 0)'
        : this.#clock.now() >= this.certificate.notAfter.getTime()
          ? `it expired at ${this.certificate.notAfter.toISOString()}`
          : undefined;
    if (problem !== undefined) throw new SallyportError('CA_INVALID', { secret: this.secretName, problem });
    const { keyCertSign, cRLSign, digitalSignature } = x509.KeyUsageFlags;
    const bounds = [this.x509, other.x509];
    const subject = new x509.X509Certificate(other.x509.raw);
    const { der } = signCertificate(
      {
        // What the other CA has issued names it so, byte for byte, and by this key identifier.
        subject: subject.subjectName,
        keyId: keyIdentifierOf(other.x509),
        publicKey: other.x509.publicKey.export({ type: 'spki', format: 'der' }),
        notBefore: new Date(Math.max(...bounds.map((one) => one.validFromDate.getTime()))),
        notAfter: new Date(Math.min(...bounds.map((one) => one.validToDate.getTime()))),
        extensions: [
          new x509.BasicConstraintsExtension(true, undefined, true),
          new x509.KeyUsagesExtension(keyCertSign | cRLSign | digitalSignature, true),
        ],
      },
      { key: this.#key, certificate: this.x509 },
    );
    return new X509Certificate(der);
  }

  async #issueLeaf(
    { days, backdateMs }: { days: number; backdateMs: number },
    leaf: {
      subject: DistinguishedName;
      publicKey: Uint8Array;
      usages: readonly KeyUsage[];
      more: x509.Extension[];
    },
  ): Promise<SignedCertificate> {
    const now = this.#clock.now();
    if (now >= this.certificate.notAfter.getTime())
      throw new SallyportError('CA_INVALID', {
        secret: this.secretName,
        problem: `it expired at ${this.certificate.notAfter.toISOString()}`,
      });
    const isRsa = keyAlgorithm(leaf.publicKey).equals(RSA_ENCRYPTION);
    return signCertificate(
      {
        subject: leaf.subject,
        publicKey: leaf.publicKey,
        notBefore: new Date(now - backdateMs),
        notAfter: new Date(Math.min(now + days * DAY_MS, this.certificate.notAfter.getTime())),
        extensions: [...leafExtensions(leaf.usages, isRsa), ...leaf.more],
      },
      { key: this.#key, certificate: this.x509 },
    );
  }
}

/** The OID of an SPKI, DER. */
function keyAlgorithm(spki: Uint8Array): Buffer {
  return new DerReader(spki).enter().enter().whole();
}

const knownLeafExtensions = new Map<string, readonly x509.Extension[]>();

/** What all leaves of a kind say alike. The library takes as long for it as the signature takes. */
function leafExtensions(usages: readonly KeyUsage[], isRsa: boolean): readonly x509.Extension[] {
  const kind = [...usages, isRsa].join(' ');
  const known = knownLeafExtensions.get(kind);
  if (known) return known;
  const { digitalSignature, keyEncipherment } = x509.KeyUsageFlags;
  const extensions = [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(isRsa ? digitalSignature | keyEncipherment : digitalSignature, true),
    new x509.ExtendedKeyUsageExtension(usages.map((usage) => USAGE_OIDS[usage])),
  ];
  knownLeafExtensions.set(kind, extensions);
  return extensions;
}

export function toCaCertificate(certificate: X509Certificate): CaCertificate {
  return {
    pem: certificate.toString(),
    der: certificate.raw,
    sha256: sha256Hex(certificate.raw),
    subject: certificate.subject,
    notBefore: certificate.validFromDate,
    notAfter: certificate.validToDate,
  };
}

function required(secret: Secret, key: string): Uint8Array {
  const value = secret.data[key];
  if (value === undefined || value.length === 0)
    throw new SallyportError('SECRET_KEY_MISSING', { secret: secret.name, key });
  return value;
}

function readCertificates(secret: string, bytes: Uint8Array): [X509Certificate, ...X509Certificate[]] {
  try {
    return parseCertificates(bytes, 'cadata');
  } catch (error) {
    throw new SallyportError('SECRET_MALFORMED', { secret, problem: describeError(error) }, error);
  }
}

function caProblem(certificate: X509Certificate, key: KeyObject): string | undefined {
  if (!certificate.ca) return 'cadata holds a certificate that is no CA (basicConstraints)';
  try {
    if (!allowsKeyUsage(certificate.raw, KEY_CERT_SIGN))
      return 'the key usage of the certificate in cadata lacks keyCertSign';
  } catch (error) {
    return `the extensions of the certificate in cadata cannot be read (${describeError(error)})`;
  }
  if (!certificate.checkPrivateKey(key)) return 'cakeydata does not belong to the certificate in cadata';
  return undefined;
}
