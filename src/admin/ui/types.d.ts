import type { TransportName } from '../../protocol/listener-names.ts';
import type { Answer } from './api.js';

/**
 * What the page knows of the admin API: `undefined` while it is asked for, `missing` where this gateway has
 * no such route.
 */
export type Resource<T> =
  | { readonly state: 'loading' }
  | { readonly state: 'missing' }
  | { readonly state: 'failed'; readonly problem: string; readonly value?: T }
  | { readonly state: 'ready'; readonly value: T };

export interface Info {
  readonly version: string;
  readonly replica: string;
  readonly startedAt: string;
  readonly now: string;
  readonly secretStore: string;
  readonly bus: string;
  readonly caSha256: string;
  readonly draining: boolean;
  readonly nodes: number;
  readonly caller: { readonly name: string; readonly role: 'viewer' | 'operator' };
}

export interface Certificate {
  readonly kind: string;
  readonly secret: string;
  readonly subject: string;
  readonly sha256: string;
  readonly serial: string;
  readonly notBefore: string;
  readonly notAfter: string;
  readonly names: readonly string[];
  readonly managed: boolean;
}

export interface Certificates {
  readonly certificates: readonly Certificate[];
  readonly wantedFingerprint: string;
  readonly lastReload: string;
  readonly problem?: string;
  readonly listeners: readonly {
    readonly name: string;
    readonly address: string;
    readonly servedFingerprint: string;
    readonly servesWanted: boolean;
    readonly detail?: string;
  }[];
}

export interface Served {
  readonly replica: string;
  readonly listener: string;
  readonly wantedSha256: string;
  readonly servedSha256?: string;
  readonly notAfter?: string;
  readonly checkedAt?: string;
  readonly problem?: string;
  readonly detail?: string;
}

export interface Node {
  readonly node: string;
  readonly replica: string;
  readonly transport: TransportName;
  readonly remoteAddress: string;
  readonly connectedSince: string;
  readonly lastHeard: string;
  readonly certificate: { readonly notAfter: string; readonly serial: string };
  /** Absent over HTTP/3. */
  readonly keyExchange?: { readonly group: string; readonly postQuantum: boolean };
  readonly queued: number;
  readonly unacknowledged: number;
  /** Where there is a CloudCore behind the gateway. */
  readonly upstream?: {
    readonly address?: string;
    readonly state: 'connecting' | 'open' | 'waiting';
    readonly since: string;
  };
}

export interface Rejection {
  readonly replica: string;
  readonly node?: string;
  readonly claimedNode?: string;
  readonly reason: string;
  readonly listener: string;
  readonly remoteAddress: string;
  readonly count: number;
  readonly firstAt: string;
  readonly lastAt: string;
  readonly detail: string;
  readonly fix?: string;
}

export interface Forecast {
  readonly node: string;
  readonly certificate: { readonly notAfter: string };
  readonly lastSeen?: string;
  readonly nextContactBy?: string;
  readonly renewableUntil?: string;
  readonly verdict: string;
}

export interface Rollover {
  readonly phase: string;
  readonly old?: { readonly subject: string; readonly sha256: string; readonly notAfter: string };
  readonly new?: { readonly subject: string; readonly sha256: string; readonly notAfter: string };
  readonly summary?: string;
  readonly nodes?: { readonly total: number; readonly new: number; readonly dependent: number };
  readonly next?: readonly { readonly step: string; readonly blockers: readonly string[] }[];
  readonly warnings?: readonly string[];
}

export interface Revocation {
  readonly id: string;
  readonly kind: string;
  readonly node?: string;
  readonly serial?: string;
  readonly reason: string;
  readonly at: string;
  readonly by: string;
  readonly note?: string;
}

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail?: string;
}

export interface Data {
  readonly info: Resource<Info>;
  readonly certificates: Resource<Certificates>;
  readonly served: Resource<readonly Served[]>;
  readonly nodes: Resource<readonly Node[]>;
  readonly checks: Resource<readonly Check[]>;
  readonly rejections: Resource<readonly Rejection[]>;
  readonly forecast: Resource<readonly Forecast[]>;
  readonly rollover: Resource<Rollover>;
  readonly revocations: Resource<readonly Revocation[]>;
}

/** How a table is sorted: by the column of that name. */
export interface Order {
  readonly by: string;
  readonly descending: boolean;
}

/** Something to act on. `level` 2 is urgent. */
export interface Finding {
  readonly level: 1 | 2;
  readonly title: string;
  readonly detail?: string;
  readonly command: string;
}

/** Of a stream of events. `paused`: the page is hidden. */
export type Live = 'connecting' | 'live' | 'interrupted' | 'paused';

export interface FollowCallbacks {
  /** `problem`: what the gateway said, when it said anything. */
  onState(live: Live, problem?: string): void;
  /** JSON. */
  onData(data: string): void;
}

/** What the gateway is asked for. Empty texts ask for everything. */
export interface MessageFilter {
  readonly node: string;
  readonly kind: 'all' | 'messages' | 'sessions';
  /** Absent unless for an operator; others may follow only what nodes send. */
  readonly direction?: 'both' | 'upstream' | 'downstream';
  readonly operation: string;
  /** How the resource begins. */
  readonly resource: string;
}

export interface MessageRow {
  /** Grows. */
  readonly number: number;
  /** When it reached this page, milliseconds since the epoch, the browser's clock. */
  readonly at: number;
  readonly kind: 'message' | 'connected' | 'disconnected' | 'missed';
  /** Of messages. */
  readonly direction?: 'upstream' | 'downstream';
  readonly node: string;
  readonly what: string;
  /** Of a message. */
  readonly bytes?: number;
  /** The event as it came, JSON; its beginning when it is long. */
  readonly text: string;
  readonly isCut: boolean;
}

export interface MessageView {
  /** Absent while nobody follows. */
  readonly live?: Live;
  readonly problem: string;
  /** The oldest first. */
  readonly rows: readonly MessageRow[];
  /** How many older ones are not in `rows` any more, or never were. */
  readonly dropped: number;
  readonly isHeld: boolean;
  /** How many came since it is held. */
  readonly waiting: number;
}

export interface Snapshot {
  readonly data: Data;
  readonly live: Live;
  /** Milliseconds since the epoch, the hub's clock. */
  readonly now: number;
  /** When something was last read, by the browser's clock; 0 before. */
  readonly updatedAt: number;
}

/** Something that changes the gateway, and what a person is asked before. */
export interface Action {
  readonly title: string;
  /** What it does, in a sentence or two. */
  readonly what: string;
  /** The word on the button. */
  readonly verb: string;
  /** What cannot be taken back easily. */
  readonly isSevere?: boolean;
  readonly choice?: { readonly label: string; readonly options: readonly string[] };
  /** Label of a field for a name, when one is needed. */
  readonly name?: string;
  /** What is said when it is done. */
  readonly done: string;
  run(values: { readonly reason: string; readonly chosen: string; readonly name: string }): Promise<Answer>;
  /** What is to be copied from the answer, which is shown once. */
  result?(body: unknown): string;
}

export type Shown =
  | { readonly kind: 'action'; readonly action: Action }
  | { readonly kind: 'node'; readonly node: Node }
  | { readonly kind: 'message'; readonly row: MessageRow };
