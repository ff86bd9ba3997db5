import type { PeerFacts } from '../protocol/peer-facts.ts';
import type { PeerReason } from '../protocol/rejection-reasons.ts';

/** Who is at the other end: the node its client certificate names, and the facts of that certificate. */
export interface NodeIdentity {
  readonly nodeName: string;
  readonly certificate: PeerCertificate;
  /** True for a certificate of an old KubeEdge fleet (`CN=kubeedge.io`) let in by `identity.allowLegacy`. */
  readonly legacy: boolean;
}

export interface PeerCertificate {
  /** Upper-case hexadecimal, as `X509Certificate.serialNumber`. */
  readonly serial: string;
  /** SHA-256 of the certificate's DER, lower-case hexadecimal. */
  readonly sha256: string;
  /** SHA-256 of the DER of the CA certificate it verified against, lower-case hexadecimal. */
  readonly issuerSha256: string;
  readonly issuer: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/**
 * Why a peer is refused: the same word in metric label, log, answer header and close text. `node-mismatch`
 * and `protocol` are decided by listeners, `ticket-refused` by the ticket book, the others by the gate.
 */
export type RefusalReason = PeerReason;

export interface Refusal {
  readonly ok: false;
  readonly reason: RefusalReason;
  /** One plain sentence for the edge and the log: what is wrong and, where known, since when. */
  readonly detail: string;
  /**
   * The node the certificate claims, when it can be read; with `unknown-ca` anybody may have written it.
   * Never to be used as an identity.
   */
  readonly claimedNode?: string;
  /** True when `claimedNode` is no mere claim: a trusted CA certified the name, whatever else is wrong. */
  readonly nodeVerified?: boolean;
  readonly facts?: PeerFacts;
}

export interface Accepted {
  readonly ok: true;
  readonly identity: NodeIdentity;
}

export type Verdict = Accepted | Refusal;
