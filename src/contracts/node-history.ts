import type { TransportName } from '../protocol/listener-names.ts';

/**
 * What is known about the fleet, also about nodes that are not connected. All replicas share it. It is small
 * and bounded. Times are ISO 8601.
 */
export interface NodeHistory {
  /**
   * Every node that was issued a certificate or that connected, in the order of names. This is what this
   * replica knows, at most minutes behind the others.
   */
  list(): readonly NodeRecord[];
  /** Undefined when the node is not known or was forgotten. */
  get(node: string): NodeRecord | undefined;
  /**
   * For hardware that is gone: nobody waits for the node any more. It is known again as soon as it connects
   * or is issued a certificate.
   * @returns false when the node is not known
   * @throws NODE_STILL_CONNECTED, errors of the store
   */
  forget(node: string): Promise<boolean>;
  /** Which nodes will be back in time to renew. */
  forecast(): readonly NodeForecast[];
  /**
   * Nodes that had to be forgotten, because the history was full or a part of it was damaged, and that may
   * still come back; undefined when there is none. Known to all replicas and after every restart.
   */
  forgotten(): ForgottenNodes | undefined;
}

export interface ForgottenNodes {
  /** Counted. One that came back and was forgotten again counts twice; a damaged part counts once. */
  readonly nodes: number;
  /** When the first was forgotten. */
  readonly since: string;
  /** When the last of them can neither connect nor renew any more. */
  readonly until: string;
}

export interface NodeRecord {
  readonly node: string;
  /** The certificate of its last connection. While it never connected, the one that was issued last. */
  readonly certificate: KnownCertificate;
  /** A certificate that was issued since, and with which the node has not connected yet. */
  readonly issued?: KnownCertificate;
  /** When the node was first issued a certificate or first connected. */
  readonly firstSeen: string;
  /** When the node was last issued a certificate for a token. */
  readonly joinedAt?: string;
  /**
   * The end of its last contact; the present time for a node that is connected; undefined when it never
   * connected.
   */
  readonly lastSeen?: string;
  /** True while it has a session on this replica. */
  readonly connectedHere: boolean;
  /** Of the last connection. */
  readonly transport?: TransportName;
  readonly replica?: string;
  /** Its longest absences of the last 400 days, oldest first. Those under two hours do not count. */
  readonly absences: readonly { readonly from: string; readonly to: string }[];
}

export interface KnownCertificate {
  /** Upper-case hexadecimal. */
  readonly serial: string;
  /** SHA-256 of the DER of the CA certificate that issued it, lower-case hexadecimal. */
  readonly issuerSha256: string;
  readonly notBefore: string;
  readonly notAfter: string;
}

/**
 * - `ok`: it is expected back while its certificate is valid, or it is connected and renews in time.
 * - `renewable`: it is expected back after its certificate ends and within the grace. In the grace it may
 *   renew once (requirement F1).
 * - `at-risk`: it is expected back only after the grace, or it is connected and does not renew. It will be
 *   locked out unless somebody acts.
 * - `expired`: certificate and grace have ended. It needs a new token.
 * - `revoked`: it is shut out on purpose.
 */
export type ForecastVerdict = 'ok' | 'renewable' | 'at-risk' | 'expired' | 'revoked';

export interface NodeForecast {
  readonly node: string;
  /** The certificate that it will come back with. */
  readonly certificate: KnownCertificate;
  readonly lastSeen?: string;
  readonly connectedHere: boolean;
  /** The longest of its absences in milliseconds; undefined when none is known. */
  readonly usualGapMs?: number;
  /** When it should be back at the latest, judging by its past; undefined while it is connected. */
  readonly nextContactBy?: string;
  /** True when it is away for longer than ever before. */
  readonly overdue: boolean;
  /** When the grace after its certificate ends. */
  readonly renewableUntil: string;
  readonly verdict: ForecastVerdict;
}
