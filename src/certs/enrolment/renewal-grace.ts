import { hash, X509Certificate } from 'node:crypto';
import type { CertificateBundle } from '../../contracts/certificate-source.ts';
import type { Clock } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import type { NodeIdentity, Refusal } from '../../identity/node-identity.ts';
import { PeerGate, type PeerGateComponents } from '../../identity/peer-gate.ts';
import { ago, isoSeconds } from '../../identity/since.ts';
import type { TokenService } from './token-service.ts';

const DAY_MS = 86_400_000;

export interface RenewalGraceComponents {
  readonly trust: () => CertificateBundle['clientCAs'];
  readonly clock: Clock;
  readonly tokens: Pick<TokenService, 'isGraceUsed' | 'consumeGrace'>;
  readonly isRevoked?: PeerGateComponents['isRevoked'];
}

export interface RenewalGraceOptions {
  /** Days after its end in which a certificate may be renewed, once; 0 never. */
  readonly graceDays: number;
  readonly legacyNodes: Readonly<Record<string, string>>;
}

/** An expired certificate that is good for one renewal. */
export interface Grace {
  readonly identity: NodeIdentity;
  /** Makes sure it stays one, on every replica. @throws GRACE_USED */
  consume(): Promise<void>;
}

/**
 * Lets a node that was offline too long renew once with its expired certificate (requirement F1). The gate
 * refuses such a certificate for its date and may have looked no further, so it is asked again as of the
 * moment the certificate ended: every other rule holds unchanged.
 */
export class RenewalGrace {
  readonly #components: RenewalGraceComponents;
  readonly #options: () => RenewalGraceOptions;
  readonly #gate: PeerGate;
  #asOf = 0;

  constructor(components: RenewalGraceComponents, options: () => RenewalGraceOptions) {
    this.#components = components;
    this.#options = options;
    const { trust, isRevoked } = components;
    this.#gate = new PeerGate(
      { trust, clock: { now: () => this.#asOf }, ...(isRevoked ? { isRevoked } : {}) },
      // A name that is only believed (allowLegacy) is never enough for a certificate.
      () => ({ allowLegacy: false, legacyNodes: options().legacyNodes }),
    );
  }

  /** @param peerCertificate DER @throws PEER_REFUSED with the reason, GRACE_USED, errors of the store */
  async check(peerCertificate: Uint8Array): Promise<Grace> {
    const { clock, tokens } = this.#components;
    const leaf = parse(peerCertificate);
    const endedAt = leaf.validToDate.getTime();
    this.#asOf = endedAt;
    const verdict = this.#gate.check(leaf);
    if (!verdict.ok) throw refused(endedBeforeItsCa(verdict, endedAt) ?? verdict.detail);
    const { identity } = verdict;
    const { graceDays } = this.#options();
    const until = endedAt + graceDays * DAY_MS;
    const lateMs = clock.now() - endedAt;
    if (lateMs <= 0) throw refused('the CA of the certificate has expired');
    if (clock.now() > until)
      throw refused(
        `node ${identity.nodeName}, expired ${ago(lateMs)} ago, at ${isoSeconds(endedAt)}; it could be renewed for ${graceDays} days after that`,
      );
    const id = idOf(identity);
    if (await tokens.isGraceUsed(id)) throw new SallyportError('GRACE_USED');
    return { identity, consume: () => tokens.consumeGrace(id, until) };
  }
}

/**
 * A CA that was made anew with its key may begin after certificates of it have ended. The gate, asked as of
 * that moment, takes this for a wrong clock.
 */
function endedBeforeItsCa({ reason, claimedNode, facts }: Refusal, endedAt: number): string | undefined {
  if (reason !== 'not-yet-valid' || facts?.notBefore === undefined) return undefined;
  const who = claimedNode === undefined ? 'the certificate' : `node ${claimedNode}, its certificate`;
  return `${who} ended at ${isoSeconds(endedAt)}, before its CA began, at ${isoSeconds(facts.notBefore)}; join again with a token`;
}

/**
 * Of issuer, serial and node, not of the certificate's bytes: an ECDSA signature can be changed without
 * becoming invalid. Certificates of KubeEdge may share one serial. Short, to fit the state.
 */
function idOf({ nodeName, certificate: { issuerSha256, serial } }: NodeIdentity): string {
  return hash('sha256', `${issuerSha256}:${serial}:${nodeName}`, 'base64url').slice(0, 16);
}

function parse(der: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(Buffer.from(der));
  } catch (error) {
    throw new SallyportError('PEER_REFUSED', { reason: 'it cannot be examined' }, error);
  }
}

function refused(reason: string): SallyportError {
  return new SallyportError('PEER_REFUSED', { reason });
}
