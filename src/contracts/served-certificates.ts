import type { ListenerName } from '../protocol/listener-names.ts';

/** What listeners really serve, found out by handshakes with them, of all replicas. Times are ISO 8601. */
export interface ServedCertificates {
  /**
   * The replicas as they were last heard of, this one as it was last looked at. Never throws: what cannot be
   * read is as it was.
   */
  list(): Promise<readonly ServedCertificate[]>;
}

export interface ServedCertificate {
  readonly replica: string;
  readonly listener: ListenerName;
  /** SHA-256 of the DER of the hub certificate this replica wants to serve, lower-case hexadecimal. */
  readonly wantedSha256: string;
  /** SHA-256 of the DER of the certificate a client was shown; undefined when no handshake succeeded. */
  readonly servedSha256?: string;
  /** When the certificate that was shown ends. */
  readonly notAfter?: string;
  /** Of the last handshake; other replicas tell again only when something changed, and every few minutes. */
  readonly checkedAt: string;
  /**
   * What is wrong: no handshake, another certificate than the wanted, or one that its own CA does not vouch
   * for.
   */
  readonly problem?: string;
}
