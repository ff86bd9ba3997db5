import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import type { CertificateAuthority } from '../certs/ca/certificate-authority.ts';
import type { CertificateBundle } from '../contracts/certificate-source.ts';
import type { HandshakeRequest } from '../contracts/handshake.ts';
import type { ListenAddress } from '../contracts/listener.ts';
import type { Clock } from '../core/clock.ts';

/** A node name no fleet uses. */
export const PROBE_NODE = 'sallyport-self-test';
/** A throw-away certificate is used this long, and lives a little longer, milliseconds. */
const CLIENT_LIFE_MS = 30 * 60_000;
const DAY_MS = 86_400_000;

export type ProbeClient = NonNullable<HandshakeRequest['client']>;

/**
 * Client certificates the hub issues to itself for handshakes with its own listeners; they never leave the
 * process.
 */
export class ProbeClients {
  readonly #clock: Clock;
  #last: { readonly ca: string; readonly until: number; readonly client: Promise<ProbeClient> } | undefined;

  constructor({ clock }: { clock: Clock }) {
    this.#clock = clock;
  }

  of(authority: Pick<CertificateAuthority, 'certificate' | 'issueEdge'>): Promise<ProbeClient> {
    const now = this.#clock.now();
    const ca = authority.certificate.sha256;
    if (this.#last?.ca === ca && now < this.#last.until) return this.#last.client;
    const client = issue(authority);
    this.#last = { ca, until: now + CLIENT_LIFE_MS, client };
    client.catch(() => {
      this.#last = undefined;
    });
    return client;
  }
}

async function issue(authority: Pick<CertificateAuthority, 'issueEdge'>): Promise<ProbeClient> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { der } = await authority.issueEdge({
    publicKey: publicKey.export({ type: 'spki', format: 'der' }),
    nodeName: PROBE_NODE,
    usages: ['clientAuth'],
    days: (2 * CLIENT_LIFE_MS) / DAY_MS,
    backdateMs: CLIENT_LIFE_MS,
  });
  return {
    certificate: new X509Certificate(der).toString(),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}

/**
 * The CA an edge would verify this certificate with: the one `/ca.crt` hands out, or, for a certificate
 * somebody else keeps, the CA it comes from (certs/bundle/certificate-bundle.ts says when that is allowed).
 */
export function edgeTrust({ ca, clientCAs }: CertificateBundle): string[] {
  const others = clientCAs.filter(({ sha256 }) => sha256 !== ca.sha256);
  return [ca.pem, ...others.map(({ pem }) => pem)];
}

/**
 * One of the names edges use, of those the certificate holds; a DNS name where there is one, which every
 * transport can check.
 */
export function edgeName({ server }: CertificateBundle, advertised: readonly string[]): string {
  const both = server.names.filter((name) => advertised.includes(name));
  const names = both.length > 0 ? both : server.names;
  const plain = names.map((name) => (name.startsWith('*.') ? `probe${name.slice(1)}` : name));
  return plain.find((name) => !/^[\d.]+$|:/.test(name)) ?? plain[0] ?? 'localhost';
}

/** Where a listener that is bound to every address is reached from here. */
export function nearAddress({ host, port }: ListenAddress): ListenAddress {
  return { host: host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host, port };
}
