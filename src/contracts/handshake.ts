import type { X509Certificate } from 'node:crypto';

/** A handshake with a listener as an edge would make it. */
export interface HandshakeRequest {
  readonly host: string;
  readonly port: number;
  /** DNS name or IP address the certificate must hold. */
  readonly name: string;
  /** PEM of the one CA that is trusted. */
  readonly ca: string;
  /** PEM. */
  readonly client?: { readonly certificate: string; readonly key: string };
  readonly timeoutMs: number;
  /** Whether the server says something, as trial servers do. */
  readonly awaitReply?: boolean;
}

export interface HandshakeResult {
  /** The certificate that was shown; undefined where the library does not tell (QUIC). */
  readonly served?: X509Certificate;
  /** Why an edge would not accept it. */
  readonly problem?: string;
  /** What the server said then: a trial server, the SHA-256 of the client certificate it was shown. */
  readonly reply: string;
}
