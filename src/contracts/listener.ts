import type { CloseReason } from '../protocol/close-reasons.ts';
import type { ListenerName } from '../protocol/listener-names.ts';
import type { CertificateBundle } from './certificate-source.ts';
import type { HandshakeRequest, HandshakeResult, KnockRequest } from './handshake.ts';

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/**
 * Where a bundle is served off to the side. The server tells each client the SHA-256 of the certificate that
 * the client showed, or `none`. Then it ends.
 */
export type BundleTrial = ListenAddress;

/**
 * Terminates the connections of edges on one transport. It holds a CertificateSource and never a certificate.
 */
export interface Listener {
  readonly name: ListenerName;
  /** Binds, and serves with `source.current()`. @throws LISTEN_FAILED */
  start(): Promise<void>;
  /**
   * New handshakes use `next`; open connections stay. When `next` cannot be served, it throws and changes
   * nothing.
   */
  applyBundle(next: CertificateBundle): void | Promise<void>;
  /** Listeners with the same word serve any bundle alike: a trial of one is a trial of all. */
  readonly servesAs: string;
  /**
   * Serves `next` off to the side, as this listener would. It uses a loopback port of its own while `visit`
   * lasts. Real connections notice nothing.
   * @throws when it cannot be served, and what `visit` throws
   */
  tryBundle(next: CertificateBundle, visit: (trial: BundleTrial) => Promise<void>): Promise<void>;
  /**
   * Connects to a listener of this kind, as an edge would. It may be this listener or a trial of it.
   * @throws Error with what such an edge would say
   */
  handshake(request: HandshakeRequest): Promise<HandshakeResult>;
  /**
   * Asks a listener of this kind for what it is there for, without verifying whom it asks. The request is
   * good in itself: what is missing is a reason to grant it.
   * @returns HTTP status of the answer, or the one that means the same: below 400 a stranger is let in, with
   * 401 refused
   * @throws Error when there is no answer
   */
  knock(request: KnockRequest): Promise<number>;
  /** Fingerprint of the bundle that new handshakes get at this moment. */
  servedFingerprint(): string;
  /**
   * What an operator should know about how the listener serves, in one short line. It is absent when there is
   * nothing to say.
   */
  describe?(): string;
  /** Where it listens. When port 0 was asked for, this is the real port. */
  address(): ListenAddress;
  /**
   * Stops accepting. Connections that are no session of the hub end with `reason`. Idempotent. When `signal`
   * is aborted, it no longer waits for anybody.
   */
  stop(reason: CloseReason, signal: AbortSignal): Promise<void>;
}
