import type { Duplex } from 'node:stream';
import type { KeyExchange } from '../../core/tls-groups.ts';
import type { CloseReason } from '../../protocol/close-reasons.ts';

/** One session of a framed transport as opening and connection see it, over whichever library. */
export interface EdgeSession {
  readonly remoteAddress: string;
  /** When its first bytes came, milliseconds on the monotonic clock. */
  readonly startedAt: number;
  /** Absent where the library tells nothing of it. */
  readonly keyExchange?: KeyExchange | undefined;
  /** Asked only while the session lives. */
  readonly rttMs: number | undefined;
  /** Sets who is told. */
  follow(events: EdgeSessionEvents): void;
  /** Ends the session with words; `onClosed` follows. */
  close(code: number, text: string): void;
  /** Ends it at once. */
  destroy(): void;
}

export interface EdgeSessionEvents {
  /** Once: the stream for hello and welcome, the first that the edge opens. */
  onControl(stream: Duplex): void;
  /** What the edge did is not allowed before its welcome. */
  onForbidden(detail: string): void;
  /** Once. Undefined when the peer vanished. */
  onClosed(reason: CloseReason | undefined): void;
}
