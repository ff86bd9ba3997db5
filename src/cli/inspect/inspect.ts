import type { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { parseCertificates } from '../../certs/x509/certificate-chain.ts';
import { looksLikePem, readPem } from '../../certs/x509/pem.ts';
import { parsePrivateKey } from '../../certs/x509/private-key.ts';
import type { Config } from '../../config/schema.ts';
import { describeError, isSallyportError, SallyportError } from '../../core/errors.ts';
import { withStore } from '../open-store.ts';
import type { Terminal } from '../terminal.ts';
import { type CertificateDescription, describeCertificate } from './describe-certificate.ts';
import { judgeChain } from './inspect-chain.ts';
import { probeTls } from './tls-probe.ts';

/** What `certs inspect` found in one place. */
export interface Inspected {
  readonly source: string;
  readonly certificates: readonly CertificateDescription[];
  /** Private keys beside them; never the keys. */
  readonly keys: readonly {
    readonly where: string;
    /** SHA-256 of the certificate it belongs to. */
    readonly belongsTo?: string;
    readonly problem?: string;
  }[];
  /** Of a live endpoint. */
  readonly endpoint?: {
    readonly protocol: string;
    readonly cipher: string;
    readonly servername?: string;
    readonly verified: boolean;
    readonly verdict: string;
  };
}

export interface InspectOptions {
  readonly config: Config;
  readonly now: number;
  /** Name to ask an endpoint for. */
  readonly servername?: string | undefined;
  /** PEM file of the CAs an endpoint's chain is held against; default: the CA and trust Secrets. */
  readonly ca?: string | undefined;
  /** PEM files of a client certificate to present. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

const ENDPOINT = /^(?:\[([0-9a-fA-F:.]+)\]|([^/:\s]+)):(\d{1,5})$/;

/**
 * @param target a PEM or DER file, `host:port`, or `secret/NAME`; undefined: CA and hub certificate of the
 * store
 * @throws INSPECT_NOTHING, ENDPOINT_UNREACHABLE, SECRET_NOT_FOUND, CERTIFICATE_UNREADABLE, errors of the
 * store
 */
export async function inspect(
  terminal: Terminal,
  target: string | undefined,
  options: InspectOptions,
): Promise<Inspected[]> {
  const { caSecret, hubSecret } = options.config.certificates;
  if (target === undefined) return inspectSecrets(terminal, [caSecret, hubSecret], options);
  if (target.startsWith('secret/'))
    return inspectSecrets(terminal, [target.slice('secret/'.length)], options);
  const [, ip, name, port] = ENDPOINT.exec(target) ?? [];
  if (port !== undefined && !existsSync(target))
    return [await inspectEndpoint(terminal, { host: (ip ?? name)!, port: Number(port) }, options)];
  return [inspectValues(target, [[target, readFile(target)]], options.now)];
}

function inspectSecrets(
  terminal: Terminal,
  names: readonly string[],
  { config, now }: InspectOptions,
): Promise<Inspected[]> {
  return withStore(terminal, { config }, (store) =>
    Promise.all(
      names.map(async (name) => {
        const secret = await store.get(name);
        if (!secret) throw new SallyportError('SECRET_NOT_FOUND', { secret: name });
        return inspectValues(`secret/${name}`, Object.entries(secret.data), now);
      }),
    ),
  );
}

/**
 * Every certificate and key among the values; a value that is neither is passed over as long as there is
 * something to show.
 */
function inspectValues(
  source: string,
  values: readonly (readonly [where: string, bytes: Uint8Array])[],
  now: number,
): Inspected {
  const certificates = values.flatMap(([where, bytes]) => certificatesIn(bytes, where));
  const keys = values.flatMap(([where, bytes]) => keysIn(bytes, where, certificates));
  if (certificates.length === 0 && keys.length === 0) throw new SallyportError('INSPECT_NOTHING', { source });
  return { source, certificates: certificates.map((one) => describeCertificate(one, now)), keys };
}

/** Damaged PEM is an error, bytes that are no certificate are none. */
function certificatesIn(bytes: Uint8Array, where: string): X509Certificate[] {
  const isPem = looksLikePem(bytes) && readPem(bytes).some(({ label }) => label.endsWith('CERTIFICATE'));
  try {
    return parseCertificates(bytes, where);
  } catch (error) {
    if (isPem || !isSallyportError(error, 'CERTIFICATE_UNREADABLE')) throw error;
    return [];
  }
}

function keysIn(
  bytes: Uint8Array,
  where: string,
  certificates: readonly X509Certificate[],
): Inspected['keys'] {
  const isPem = looksLikePem(bytes);
  // DER that is a certificate has the outline of an encrypted key.
  if (!isPem && certificates.some(({ raw }) => Buffer.from(bytes).subarray(0, raw.length).equals(raw)))
    return [];
  const blocks: readonly { readonly der: Buffer; readonly encrypted: boolean }[] = isPem
    ? readPem(bytes).filter(({ label }) => label.endsWith('PRIVATE KEY'))
    : [{ der: Buffer.from(bytes), encrypted: false }];
  return blocks.flatMap(({ der, encrypted }): Inspected['keys'] => {
    if (encrypted) return [{ where, problem: 'encrypted; not looked into' }];
    try {
      const key = parsePrivateKey(der, where);
      const owner = certificates.find((certificate) => certificate.checkPrivateKey(key));
      return owner
        ? [{ where, belongsTo: owner.fingerprint256.replaceAll(':', '').toLowerCase() }]
        : [{ where, problem: 'belongs to none of the certificates' }];
    } catch (error) {
      return isPem || !isSallyportError(error, 'KEY_UNREADABLE')
        ? [{ where, problem: describeError(error) }]
        : [];
    }
  });
}

async function inspectEndpoint(
  terminal: Terminal,
  { host, port }: { host: string; port: number },
  options: InspectOptions,
): Promise<Inspected> {
  const { cert, key, now } = options;
  const identity = cert && key ? { cert: readFile(cert), key: readFile(key) } : undefined;
  const { chain, protocol, cipher, servername } = await probeTls({
    host,
    port,
    servername: options.servername,
    identity,
  });
  const { anchors, problem } = await findAnchors(terminal, options);
  const { ok, text } =
    anchors.length > 0
      ? judgeChain(chain, { anchors, host: servername ?? host, now })
      : { ok: false, text: `there is no CA to hold it against: ${problem}; name one with --ca` };
  return {
    source: `${host}:${port}`,
    certificates: chain.map((one) => describeCertificate(one, now)),
    keys: [],
    endpoint: { protocol, cipher, ...(servername ? { servername } : {}), verified: ok, verdict: text },
  };
}

async function findAnchors(
  terminal: Terminal,
  { ca, config }: InspectOptions,
): Promise<{ anchors: X509Certificate[]; problem?: string }> {
  if (ca !== undefined) return { anchors: parseCertificates(readFile(ca), ca) };
  const { caSecret, trustSecret } = config.certificates;
  try {
    return await withStore(terminal, { config }, async (store) => {
      const secrets = await Promise.all([store.get(caSecret), store.get(trustSecret)]);
      const values = secrets.flatMap((secret) => Object.entries(secret?.data ?? {}));
      const anchors = values
        .flatMap(([where, bytes]) => certificatesIn(bytes, where))
        .filter((one) => one.ca);
      return { anchors, problem: `secret ${caSecret} holds none` };
    });
  } catch (error) {
    return { anchors: [], problem: describeError(error) };
  }
}

function readFile(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new SallyportError('INSPECT_NOTHING', { source: path }, cause);
  }
}
