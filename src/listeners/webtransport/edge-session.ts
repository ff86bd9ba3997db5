import type { Duplex } from 'node:stream';
import type { CloseReason } from '../../protocol/close-reasons.ts';

/** One WebTransport session as a connection sees it, over whichever HTTP version. */
export interface EdgeSession {
  readonly remoteAddress: string;
  /** When its socket was accepted, milliseconds on the monotonic clock. */
  readonly startedAt: number;
  readonly rttMs: number | undefined;
  /**
   * Sets who is told, once each. `onStream` is told of the first stream the edge opens; there are no others.
   */
  follow(events: EdgeSessionEvents): void;
  /** Ends the session with words; `onClosed` follows. */
  close(code: number, text: string): void;
  /** Ends it at once. */
  destroy(): void;
}

export interface EdgeSessionEvents {
  onStream(stream: Duplex): void;
  /** Undefined when the peer vanished. */
  onClosed(reason: CloseReason | undefined): void;
}
