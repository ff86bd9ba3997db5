import type { X509Certificate } from 'node:crypto';
import type { OnBound } from '../core/own-probe.ts';

/** A connection to a listener that somebody makes to see what becomes of it. */
export interface Probe {
  readonly host: string;
  readonly port: number;
  readonly onBound?: OnBound;
}

/** A handshake with a listener, made as an edge would make it. */
export interface HandshakeRequest extends Probe {
  /** DNS name or IP address that the certificate must hold. */
  readonly name: string;
  /** PEM of the one CA that is trusted. */
  readonly ca: string;
  /** PEM. */
  readonly client?: { readonly certificate: string; readonly key: string };
  readonly timeoutMs: number;
  /** True when the server says something after the handshake, as trial servers do. */
  readonly awaitReply?: boolean;
}

export interface HandshakeResult {
  /** The certificate that was shown; undefined where the library does not tell (QUIC). */
  readonly served?: X509Certificate;
  /** Why an edge would not accept it. */
  readonly problem?: string;
  /**
   * What the server said then. A trial server says the SHA-256 of the client certificate that it was shown.
   */
  readonly reply: string;
}

/** A stranger's try to get in. */
export interface KnockRequest extends Probe, Pick<HandshakeRequest, 'client' | 'timeoutMs'> {
  /** Node name it gives. */
  readonly node: string;
  /** A certificate request of that node, DER. */
  readonly csr: Uint8Array;
}
