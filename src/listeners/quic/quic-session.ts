import type { QuicServerSession, QuicStream } from '@currentspace/http3';
import type { Clock } from '../../core/clock.ts';
import type { KeyExchange } from '../../core/tls-groups.ts';
import type { Verdict } from '../../identity/node-identity.ts';
import type { PeerGate } from '../../identity/peer-gate.ts';
import { closeByEdge, closeReason } from '../../protocol/close-reasons.ts';
import type { Frame } from '../../protocol/codec-framed.ts';
import type { Message } from '../../protocol/message.ts';
import { MessageLanes } from '../../protocol/message-lanes.ts';
import type { StreamWriter } from '../../protocol/stream-writer.ts';
import type { EdgeSession, EdgeSessionEvents } from '../framed/edge-session.ts';
import type { FrameCarrier, FramedConnection } from '../framed/framed-connection.ts';
import { MessageStream } from './message-stream.ts';

export interface QuicSessionComponents {
  readonly session: QuicServerSession;
  readonly clock: Pick<Clock, 'monotonic'>;
}

export interface QuicSessionOptions {
  readonly remoteAddress: string;
  /** When its flow began, milliseconds on the monotonic clock. */
  readonly startedAt: number;
  readonly maxMessageBytes: number;
  readonly streamTimeoutMs: number;
}

/** The client's first stream (RFC 9000 §2.1); packets of later ones may overtake it. */
const CONTROL_STREAM = 0;
/** What may be incomplete or waiting beside one largest message, bytes. */
const SLACK_BYTES = 1024 * 1024;

/**
 * The library does not tell the group. Its TLS (BoringSSL of before 2024-09) offers and takes X25519, P-256
 * and P-384, and has no ML-KEM at all.
 */
const KEY_EXCHANGE: KeyExchange = { group: 'unknown', postQuantum: false };

/**
 * One QUIC session. Reads every stream on its own, writes small and large messages to streams of their own.
 */
export class QuicSession implements EdgeSession, FrameCarrier {
  readonly remoteAddress: string;
  readonly startedAt: number;
  readonly keyExchange = KEY_EXCHANGE;
  readonly #session: QuicServerSession;
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #options: QuicSessionOptions;
  readonly #lanes: MessageLanes;
  readonly #streams = new Set<MessageStream>();
  #incompleteBytes = 0;
  #connection: FramedConnection | undefined;

  constructor({ session, clock }: QuicSessionComponents, options: QuicSessionOptions) {
    this.#session = session;
    this.#clock = clock;
    this.#options = options;
    this.remoteAddress = options.remoteAddress;
    this.startedAt = options.startedAt;
    this.#lanes = new MessageLanes({
      now: () => clock.monotonic(),
      open: () => {
        const stream = session.openStream();
        // The edge may answer on the same stream.
        this.#read(stream, true);
        return stream;
      },
    });
  }

  get rttMs(): number | undefined {
    return this.#session.getMetrics()?.rttMs || undefined;
  }

  get writers(): Iterable<StreamWriter> {
    return this.#lanes.writers;
  }

  /** Who the peer is, by its certificate. */
  identify(gate: Pick<PeerGate, 'check'>, claimedNode: string | undefined): Verdict {
    try {
      const [leaf, ...intermediates] = this.#session.getPeerCertificateChain();
      return gate.check(leaf, intermediates, claimedNode);
    } catch {
      return { ok: false, reason: 'malformed-certificate', detail: 'the client certificate cannot be read' };
    }
  }

  follow(events: EdgeSessionEvents): void {
    this.#session.on('close', ({ errorCode }) => events.onClosed(closeByEdge(errorCode)));
    this.#session.on('stream', (stream) => {
      if (stream.id === CONTROL_STREAM) events.onControl(stream);
      else if (this.#connection) this.#read(stream, false);
      else {
        stream.on('error', () => {});
        events.onForbidden('a message stream was opened before the welcome');
      }
    });
  }

  /** From now on its streams carry messages of this connection. */
  carry(connection: FramedConnection): this {
    this.#connection = connection;
    return this;
  }

  close(code: number, text: string): void {
    this.#session.close(code, text);
  }

  destroy(): void {
    this.close(closeReason('Normal').code, '');
  }

  writer(message: Message, bytes: number): StreamWriter {
    return this.#lanes.writer(message, bytes);
  }

  /** The library gives the peer credit for what it has handed to us: it can be pushed back only so far. */
  onBacklog(bytes: number): void {
    if (bytes > this.#options.maxMessageBytes + SLACK_BYTES)
      this.#connection?.close(closeReason('TryAgainLater'));
  }

  /** Ends silent streams. */
  sweep(now: number): void {
    for (const one of this.#streams) {
      if (one.owesForMs(now) < this.#options.streamTimeoutMs) continue;
      this.#streams.delete(one);
      one.stream.close(closeReason('StreamTimeout').code);
    }
  }

  #read(stream: QuicStream, own: boolean): void {
    const { maxMessageBytes } = this.#options;
    const connection = this.#connection!;
    const events = {
      onBytes: (bytes: number) => connection.onBytes(bytes),
      onKept: (change: number) => {
        this.#incompleteBytes += change;
        if (this.#incompleteBytes > maxMessageBytes + SLACK_BYTES)
          connection.close(closeReason('MessageTooLarge'));
      },
      onFrame: (frame: Frame) => connection.onFrame(frame),
      onBroken: (error: unknown) => connection.onBroken(error),
      onEnd: (ended: MessageStream) => this.#streams.delete(ended),
    };
    const now = () => this.#clock.monotonic();
    this.#streams.add(new MessageStream(stream, events, { maxMessageBytes, own, now }));
  }
}
