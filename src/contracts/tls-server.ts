import type { Server } from 'node:https';
import type { Socket } from 'node:net';
import type { CertificateBundle } from './certificate-source.ts';
import type { HandshakeRequest, HandshakeResult, Probe } from './handshake.ts';
import type { BundleTrial, ListenAddress } from './listener.ts';

/**
 * An HTTPS server with hot swap, limits and deadlines. The HTTPS and the admin listener put their routes on
 * it. It requests a client certificate, but TLS itself never judges it. That is the gate's work, so that a
 * refused peer can be told why.
 */
export interface TlsServer {
  /** Emits `request` and `clientError`, like Node's server. */
  readonly server: Server;
  /** Binds, and serves with the current bundle. @throws LISTEN_FAILED */
  start(): Promise<void>;
  /** When `next` cannot be served, it throws and changes nothing. */
  applyBundle(next: CertificateBundle): void;
  /** See `Listener`. */
  readonly servesAs: string;
  /** Serves `next` off to the side while `visit` lasts. */
  tryBundle(next: CertificateBundle, visit: (trial: BundleTrial) => Promise<void>): Promise<void>;
  /** See `Listener`. */
  handshake(request: HandshakeRequest): Promise<HandshakeResult>;
  /** Connects to this server unseen: nothing of that connection is counted, logged or remembered. */
  probe<P extends Probe, T>(probe: P, make: (probe: P) => Promise<T>): Promise<T>;
  servedFingerprint(): string;
  address(): ListenAddress;
  /**
   * Address of a peer. Where there is a trusted balancer, this is what the balancer told. It is for logs and
   * limits, never for identity.
   */
  remoteAddress(socket: Socket): string;
  /**
   * Stops accepting, lets requests under way finish until `signal` is aborted, then closes every socket.
   * Idempotent.
   */
  stop(signal: AbortSignal): Promise<void>;
}
