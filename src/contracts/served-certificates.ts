import type { ListenerName } from '../protocol/listener-names.ts';

/** What the listeners of all replicas really serve, found out by handshakes with them. Times are ISO 8601. */
export interface ServedCertificates {
  /**
   * The replicas as they were last heard of, and this one as it was last looked at. Never throws. What cannot
   * be read stays as it was.
   */
  list(): Promise<readonly ServedCertificate[]>;
}

export interface ServedCertificate {
  readonly replica: string;
  readonly listener: ListenerName;
  /** SHA-256 of the DER of the hub certificate that this replica wants to serve, lower-case hexadecimal. */
  readonly wantedSha256: string;
  /** SHA-256 of the DER of the certificate that a client was shown; undefined when no handshake succeeded. */
  readonly servedSha256?: string;
  /** When the certificate that was shown ends. */
  readonly notAfter?: string;
  /**
   * When the last handshake was. Other replicas report again only when something has changed, and every few
   * minutes.
   */
  readonly checkedAt: string;
  /**
   * What is wrong: no handshake succeeded, the certificate is not the wanted one, or its own CA does not
   * vouch for it.
   */
  readonly problem?: string;
}
