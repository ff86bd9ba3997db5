import { generateKeyPairSync } from 'node:crypto';
import type { UpstreamAuthority } from '../contracts/upstream-relay.ts';
import type { Clock } from '../core/clock.ts';

const LIFETIME_MS = 3_600_000;
/** So many nodes and CAs are remembered; a certificate more or less costs a signature. */
const MAX_REMEMBERED = 50_000;

export interface ClientCertificate {
  /** PEM: the leaf alone. CloudCore's authorization wants exactly one certificate. */
  readonly cert: string;
  readonly key: string;
}

/**
 * What the gateway shows CloudCore in the name of a node: certificates of one hour, renewed at half, for one
 * key of this process. Nothing of it is stored.
 */
export class NodeCertificates {
  readonly #clock: Clock;
  readonly #key: string;
  readonly #publicKey: Uint8Array;
  readonly #issued = new Map<string, { readonly cert: Promise<string>; readonly until: number }>();

  constructor({ clock }: { clock: Clock }) {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#clock = clock;
    this.#key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    this.#publicKey = publicKey.export({ type: 'spki', format: 'der' });
  }

  /** @throws what the authority throws */
  async of(node: string, authority: UpstreamAuthority): Promise<ClientCertificate> {
    const id = `${authority.certificate.sha256} ${node}`;
    const now = this.#clock.now();
    let entry = this.#issued.get(id);
    if (!entry || entry.until - now < LIFETIME_MS / 2) {
      const request = { node, publicKey: this.#publicKey, lifetimeMs: LIFETIME_MS };
      entry = { cert: authority.issueNode(request).then(toPem), until: now + LIFETIME_MS };
      this.#issued.delete(id);
      this.#issued.set(id, entry);
      if (this.#issued.size > MAX_REMEMBERED) this.#issued.delete(this.#issued.keys().next().value!);
      entry.cert.catch(() => this.#issued.delete(id));
    }
    return { cert: await entry.cert, key: this.#key };
  }
}

function toPem(der: Uint8Array): string {
  const lines = Buffer.from(der)
    .toString('base64')
    .match(/.{1,64}/g)!;
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}
