import { createHash, type KeyObject, X509Certificate } from 'node:crypto';
import type {
  CertificateIssuer,
  IssuedCertificate,
  IssueRequest,
} from '../../contracts/certificate-issuer.ts';
import type { CertificateSource } from '../../contracts/certificate-source.ts';
import type { RevocationDecisions } from '../../contracts/revocations.ts';
import type { Clock } from '../../core/clock.ts';
import { isSallyportError, SallyportError } from '../../core/errors.ts';
import { type Logger, LogSampler } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import { OWN_PROBE } from '../../core/own-probe.ts';
import type { NodeIdentity } from '../../identity/node-identity.ts';
import { rejectionReason } from '../../identity/rejection-reason.ts';
import { isNodeName } from '../../protocol/node-name.ts';
import type { CertificateAuthority, IssuedLeaf, KeyUsage } from '../ca/certificate-authority.ts';
import { type CheckedCsr, readCsr } from './csr.ts';
import type { EnrolmentToken } from './enrolment-token.ts';
import type { IssuanceLog } from './issuance-log.ts';
import type { Grace, RenewalGrace } from './renewal-grace.ts';
import type { TokenService } from './token-service.ts';

export interface IssuerComponents {
  /** The CA in use now. */
  readonly authority: () => Pick<CertificateAuthority, 'certificate' | 'issueEdge'>;
  /** For the hub's key, which no edge may have certified. */
  readonly source: Pick<CertificateSource, 'current'>;
  readonly tokens: Pick<TokenService, 'verify' | 'consume'>;
  readonly grace: Pick<RenewalGrace, 'check'>;
  /**
   * Whether the node has a session at this moment, on any replica. May throw BUS_UNAVAILABLE: then nothing is
   * issued (D11).
   */
  readonly isConnected: (node: string) => boolean | Promise<boolean>;
  /** Why nothing is issued to the node; undefined when it may have a certificate. */
  readonly isNodeRevoked?: RevocationDecisions['isNodeRevoked'];
  readonly audit: Pick<IssuanceLog, 'record' | 'refused'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'issued' | 'enrolmentRefused'>;
}

export interface IssuerOptions {
  readonly replica: string;
  readonly edgeDays: number;
  readonly backdateMs: number;
  readonly allowServerAuth: boolean;
  readonly allowReplaceConnected: boolean;
  /** Serial → node, `identity.legacyNodes`. */
  readonly legacyNodes: Readonly<Record<string, string>>;
}

/** Who asks, and what proves it. */
type Caller =
  | { readonly how: 'token' | 'fleet-token'; readonly nodeName: string; readonly token: EnrolmentToken }
  | { readonly how: 'renewal'; readonly nodeName: string; readonly identity: NodeIdentity }
  | {
      readonly how: 'grace-renewal';
      readonly nodeName: string;
      readonly identity: NodeIdentity;
      readonly grace: Grace;
    };

/** Go's crypto/x509 ExtKeyUsage numbers, as KubeEdge sends them. */
const USAGES: Readonly<Record<number, KeyUsage>> = { 1: 'serverAuth', 2: 'clientAuth' };

/** Turns a request of an edge node into a certificate, or says why not. */
export class EdgeCertificateIssuer implements CertificateIssuer {
  readonly #components: IssuerComponents;
  readonly #options: () => IssuerOptions;
  readonly #sampler: LogSampler;

  constructor(components: IssuerComponents, options: () => IssuerOptions) {
    this.#components = components;
    this.#options = options;
    this.#sampler = new LogSampler({ clock: components.clock });
  }

  async issue(request: IssueRequest): Promise<IssuedCertificate> {
    try {
      const claimedNode = this.#checkNodeName(request);
      const csr = this.#readCsr(request);
      const caller = await this.#authenticate(request, claimedNode);
      const replaces = await this.#authorize(caller, claimedNode, csr);
      const usages = this.#chooseUsages(request);
      const certificate = await this.#sign(caller, csr, usages);
      // After signing, so that a failure there costs the node no token; before the certificate leaves this
      // method, so that of two requests with one token only the one that used it up gets anything. What was
      // signed for the other is forgotten.
      await this.#consume(caller);
      // Again: it may have been revoked meanwhile, and nothing may leave after that.
      this.#refuseRevoked(caller);
      return this.#record({ request, caller, csr, usages, certificate, replaces });
    } catch (error) {
      throw this.#refused(error, request);
    }
  }

  async isTokenValid(token: string, nodeName: string): Promise<boolean> {
    try {
      await this.#components.tokens.verify(token, nodeName);
      return true;
    } catch {
      return false;
    }
  }

  /** Undefined when the header is missing: a renewal needs none. @throws NODE_NAME_INVALID */
  #checkNodeName({ nodeName }: IssueRequest): string | undefined {
    if (nodeName !== undefined && !isNodeName(nodeName)) throw new SallyportError('NODE_NAME_INVALID');
    return nodeName;
  }

  #readCsr({ csr }: IssueRequest): CheckedCsr {
    const { authority, source } = this.#components;
    return readCsr(csr, {
      forbiddenKeys: [publicKeyOf(authority().certificate.pem), publicKeyOf(source.current().server.cert)],
    });
  }

  /**
   * A certificate the gate accepts decides alone (D5); otherwise a token decides (F2), whatever came beside
   * it save a revoked certificate; otherwise an expired one may still do, once (F1).
   * @throws NOT_AUTHENTICATED, PEER_REFUSED, GRACE_USED, NODE_NAME_INVALID, TOKEN_…, errors of the store
   */
  async #authenticate(request: IssueRequest, claimedNode: string | undefined): Promise<Caller> {
    const { peer, peerCertificate, token } = request;
    const { tokens, grace } = this.#components;
    if (peer?.ok) return this.#renewal(peer.identity);
    if (peer?.reason === 'revoked' || peer?.reason === 'quarantined')
      throw new SallyportError('PEER_REFUSED', { reason: peer.detail });
    if (token !== undefined) {
      if (claimedNode === undefined) throw new SallyportError('NODE_NAME_INVALID');
      const verified = await tokens.verify(token, claimedNode);
      return {
        how: verified.kind === 'node' ? 'token' : 'fleet-token',
        nodeName: claimedNode,
        token: verified,
      };
    }
    if (peer?.reason === 'expired' && peerCertificate) {
      const granted = await grace.check(peerCertificate);
      const { identity } = granted;
      return { how: 'grace-renewal', nodeName: identity.nodeName, identity, grace: granted };
    }
    if (peer && peer.reason !== 'no-certificate')
      throw new SallyportError('PEER_REFUSED', { reason: peer.detail });
    throw new SallyportError('NOT_AUTHENTICATED');
  }

  /**
   * A certificate that names no node may be let in under the name its bearer gives (`identity.allowLegacy`).
   * To turn that into a certificate of this name would make any old certificate every node for good, so only
   * those an operator mapped are renewed (D6).
   */
  #renewal(identity: NodeIdentity): Caller {
    const { legacyNodes } = this.#options();
    const mapped = Object.entries(legacyNodes).some(
      ([serial, node]) => node === identity.nodeName && sameSerial(serial, identity.certificate.serial),
    );
    if (identity.legacy && !mapped)
      throw new SallyportError('PEER_REFUSED', {
        reason: 'it names no node, so it cannot be renewed; join with a token, or map its serial',
      });
    return { how: 'renewal', nodeName: identity.nodeName, identity };
  }

  /**
   * @returns true when a connected node is replaced @throws NODE_REVOKED, NODE_QUARANTINED (G7),
   * NODE_MISMATCH (D1, D5), NODE_CONNECTED (D11)
   */
  async #authorize(caller: Caller, claimedNode: string | undefined, csr: CheckedCsr): Promise<boolean> {
    this.#refuseRevoked(caller);
    if (claimedNode !== undefined && claimedNode !== caller.nodeName)
      throw new SallyportError('NODE_MISMATCH');
    if (csr.namedNode !== undefined && csr.namedNode !== caller.nodeName)
      throw new SallyportError('NODE_MISMATCH');
    const replaces = 'token' in caller && (await this.#components.isConnected(caller.nodeName));
    if (replaces && !this.#options().allowReplaceConnected)
      throw new SallyportError('NODE_CONNECTED', { node: caller.nodeName });
    return replaces;
  }

  /**
   * By name, so that a token does not help either; only after authentication, so that strangers learn
   * nothing. @throws NODE_REVOKED, NODE_QUARANTINED
   */
  #refuseRevoked({ nodeName }: Caller): void {
    const shutOut = this.#components.isNodeRevoked?.(nodeName);
    if (!shutOut) return;
    const code = shutOut.word === 'revoked' ? 'NODE_REVOKED' : 'NODE_QUARANTINED';
    throw new SallyportError(code, { node: nodeName, reason: shutOut.text });
  }

  /**
   * clientAuth alone by default; serverAuth on request when `certificates.allowServerAuth` says so (D2).
   * @throws USAGE_NOT_ALLOWED
   */
  #chooseUsages({ extKeyUsages = [] }: IssueRequest): readonly KeyUsage[] {
    const usages = new Set<KeyUsage>(['clientAuth']);
    for (const wanted of extKeyUsages) {
      const usage = Object.hasOwn(USAGES, wanted) ? USAGES[wanted] : undefined;
      if (usage === undefined || (usage === 'serverAuth' && !this.#options().allowServerAuth))
        throw new SallyportError('USAGE_NOT_ALLOWED');
      usages.add(usage);
    }
    return [...usages];
  }

  #sign({ nodeName }: Caller, { publicKey }: CheckedCsr, usages: readonly KeyUsage[]): Promise<IssuedLeaf> {
    const { edgeDays, backdateMs } = this.#options();
    return this.#components
      .authority()
      .issueEdge({ publicKey, nodeName, usages, days: edgeDays, backdateMs });
  }

  async #consume(caller: Caller): Promise<void> {
    if ('token' in caller) await this.#components.tokens.consume(caller.token);
    if ('grace' in caller) await caller.grace.consume();
  }

  #record({ request, caller, csr, usages, certificate, replaces }: Issuance): IssuedCertificate {
    const { audit, clock, metrics } = this.#components;
    const { how, nodeName } = caller;
    metrics.issued.inc({ how });
    audit.record({
      at: new Date(clock.now()).toISOString(),
      node: nodeName,
      how,
      serial: certificate.serial,
      issuerSha256: certificate.issuerSha256,
      notBefore: certificate.notBefore.toISOString(),
      publicKeySha256: createHash('sha256').update(csr.publicKey).digest('hex'),
      usages,
      notAfter: certificate.notAfter.toISOString(),
      remoteAddress: request.remoteAddress,
      replica: this.#options().replica,
      ...('token' in caller
        ? { tokenId: caller.token.id }
        : { oldSerial: caller.identity.certificate.serial }),
      ...(replaces ? { replacedConnected: true } : {}),
    });
    const { der, serial, notAfter } = certificate;
    return { der, serial, notAfter, nodeName, how };
  }

  /**
   * Counts and logs, a line a minute for each address and reason (I14), but not the gateway's own probes;
   * what is unexpected becomes INTERNAL, with its cause in the log.
   */
  #refused(cause: unknown, { nodeName, remoteAddress, peer }: IssueRequest): SallyportError {
    const error = isSallyportError(cause) ? cause : new SallyportError('INTERNAL', {}, cause);
    if (remoteAddress === OWN_PROBE) return error;
    const { log, metrics, audit } = this.#components;
    const reason = rejectionReason(error, peer);
    metrics.enrolmentRefused.inc({ reason });
    const suppressed = this.#sampler.pass(`${error.code} ${remoteAddress}`);
    if (suppressed === undefined) return error;
    const refusal = { code: error.code, problem: error.message, remoteAddress, suppressed };
    const claimedNode = isNodeName(nodeName) ? nodeName : undefined;
    audit.refused({ ...refusal, claimedNode, node: peer?.ok ? peer.identity.nodeName : undefined });
    const fields = { ...refusal, reason, ...(claimedNode === undefined ? {} : { node: claimedNode }) };
    if (error.status >= 500) log.error({ ...fields, err: error }, 'edge certificate could not be issued');
    else log.warn(fields, 'edge certificate refused');
    return error;
  }
}

interface Issuance {
  readonly request: IssueRequest;
  readonly caller: Caller;
  readonly csr: CheckedCsr;
  readonly usages: readonly KeyUsage[];
  readonly certificate: IssuedLeaf;
  readonly replaces: boolean;
}

function publicKeyOf(pem: string): KeyObject {
  return new X509Certificate(pem).publicKey;
}

function sameSerial(configured: string, serial: string): boolean {
  const plain = (text: string) =>
    text
      .replace(/[^0-9a-f]/gi, '')
      .replace(/^0+/, '')
      .toUpperCase();
  return plain(configured) === plain(serial);
}
