import type { AdminRole } from '../identity/admin-gate.ts';
import type { ListenerName } from '../protocol/listener-names.ts';

/** What a running gateway says about itself. The composition root assembles it. Times are ISO 8601. */
export interface GatewayInfo {
  readonly version: string;
  readonly replica: string;
  readonly startedAt: string;
  /** Clock of the hub, so that clients can see their skew. */
  readonly now: string;
  /** Where the Secrets are: a folder, or `namespace x at https://…`. */
  readonly secretStore: string;
  readonly bus: string;
  readonly advertise: readonly string[];
  /** SHA-256 of the CA certificate's DER: the first part of every join token. */
  readonly caSha256: string;
  readonly draining: boolean;
  /** Nodes with a session here. */
  readonly nodes: number;
  readonly listeners: readonly ListenerInfo[];
  /** Why QUIC is off though it is wanted where it can be had, in one line that says how to get it. */
  readonly quicOff?: string;
  /** Another running gateway has the name of this one: what to do, in one line. */
  readonly namesake?: string;
}

/** What it says to an administrator who asks. */
export interface OwnInfo extends GatewayInfo {
  readonly caller: { readonly name: string; readonly role: AdminRole };
}

export interface ListenerInfo {
  readonly name: ListenerName;
  readonly host: string;
  readonly port: number;
  /** Fingerprint of the bundle that new handshakes get. Compare it with `wantedFingerprint`. */
  readonly servedFingerprint: string;
  /** How the listener serves, where that is not obvious: `HTTP/2 only: …`. */
  readonly detail?: string;
}

/** What `--print-ready` prints: addresses are `host:port`, of enabled listeners only. */
export interface ReadyInfo extends Readonly<Partial<Record<ListenerName, string>>> {
  readonly ready: true;
  readonly caSha256: string;
  /** Where the Secrets are. */
  readonly store: string;
}
