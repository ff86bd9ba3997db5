import type { TransportName } from '../protocol/listener-names.ts';

/**
 * What the fleet is known by when it is not connected. Shared by all replicas, small and bounded. Times are
 * ISO 8601.
 */
export interface NodeHistory {
  /**
   * Every node that was issued a certificate or connected, in the order of names; as this replica knows them,
   * minutes behind the others at most.
   */
  list(): readonly NodeRecord[];
  /** Undefined when the node is not known, or was forgotten. */
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
}

export interface NodeRecord {
  readonly node: string;
  /** The certificate of its last connection; the one issued last while it never connected. */
  readonly certificate: KnownCertificate;
  /** A certificate issued since, with which it has not connected yet. */
  readonly issued?: KnownCertificate;
  /** When it was first issued a certificate or connected. */
  readonly firstSeen: string;
  /** The end of its last contact, now for one that is connected; undefined when it never connected. */
  readonly lastSeen?: string;
  /** True while it has a session on this replica. */
  readonly connectedHere: boolean;
  /** Of the last connection. */
  readonly transport?: TransportName;
  readonly replica?: string;
  /** Its longest absences of the last 400 days, oldest first; ones under two hours are none. */
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
 * - `ok`: expected back while its certificate is valid, or connected and renewing in time.
 * - `renewable`: expected back after its certificate ends and within the grace, in which it is renewed once
 *   (requirement F1).
 * - `at-risk`: expected back only after the grace, or connected and not renewing: it will be locked out
 *   unless somebody acts.
 * - `expired`: certificate and grace have ended; it needs a new token.
 * - `revoked`: shut out on purpose.
 */
export type ForecastVerdict = 'ok' | 'renewable' | 'at-risk' | 'expired' | 'revoked';

export interface NodeForecast {
  readonly node: string;
  /** The certificate it will come back with. */
  readonly certificate: KnownCertificate;
  readonly lastSeen?: string;
  readonly connectedHere: boolean;
  /** The longest of its absences, milliseconds; undefined when none is known. */
  readonly usualGapMs?: number;
  /** When it should be back at the latest, going by its past; undefined while it is connected. */
  readonly nextContactBy?: string;
  /** It is away for longer than it ever was. */
  readonly overdue: boolean;
  /** When the grace after its certificate ends. */
  readonly renewableUntil: string;
  readonly verdict: ForecastVerdict;
}
