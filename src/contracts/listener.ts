import type { CloseReason } from '../protocol/close-reasons.ts';
import type { ListenerName } from '../protocol/listener-names.ts';
import type { CertificateBundle } from './certificate-source.ts';
import type { HandshakeRequest, HandshakeResult } from './handshake.ts';

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/**
 * Where a bundle is served off to the side. The server tells each client the SHA-256 of the certificate it
 * showed, or `none`, and ends.
 */
export type BundleTrial = ListenAddress;

/** Terminates connections of edges on one transport. It holds a CertificateSource, never a certificate. */
export interface Listener {
  readonly name: ListenerName;
  /** Binds, and serves with `source.current()`. @throws LISTEN_FAILED */
  start(): Promise<void>;
  /**
   * New handshakes use `next`, open connections stay. Throws without any effect when `next` cannot be served.
   */
  applyBundle(next: CertificateBundle): void | Promise<void>;
  /**
   * Serves `next` off to the side, as this listener would, on a loopback port of its own while `visit` lasts;
   * real connections notice nothing.
   * @throws when it cannot be served, and what `visit` throws
   */
  tryBundle(next: CertificateBundle, visit: (trial: BundleTrial) => Promise<void>): Promise<void>;
  /**
   * Connects to a listener of this kind, this one or a trial of it, as an edge would.
   * @throws Error with what such an edge would say
   */
  handshake(request: HandshakeRequest): Promise<HandshakeResult>;
  /** Fingerprint of the bundle that new handshakes get at this moment. */
  servedFingerprint(): string;
  /**
   * What an operator should know about how it serves, one short line; absent when there is nothing to say.
   */
  describe?(): string;
  /** Where it listens, with the real port when 0 was asked. */
  address(): ListenAddress;
  /**
   * Stops accepting; connections that are no session of the hub end with `reason`. Idempotent. `signal` ends
   * the politeness.
   */
  stop(reason: CloseReason, signal: AbortSignal): Promise<void>;
}
