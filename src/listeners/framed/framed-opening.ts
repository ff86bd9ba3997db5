import type { Duplex } from 'node:stream';
import type { EdgeAcceptor } from '../../contracts/edge-connection.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import { describeError } from '../../core/errors.ts';
import type { Refusal, Verdict } from '../../identity/node-identity.ts';
import { type CloseReason, closeReason, closeText } from '../../protocol/close-reasons.ts';
import { type Frame, FrameDecoder } from '../../protocol/codec-framed.ts';
import type { JsonLimits } from '../../protocol/json-scan.ts';
import type { TransportName } from '../../protocol/listener-names.ts';
import { encodeWelcome } from '../../protocol/quic-control.ts';
import { protocolRefusal } from '../refusals.ts';
import type { EdgeSession } from './edge-session.ts';
import { type Carry, FramedConnection } from './framed-connection.ts';
import { type HelloLimit, type HelloOutcome, judgeHello, refused } from './hello.ts';

export interface FramedOpeningComponents {
  readonly session: EdgeSession;
  /** Who the peer is, by its certificate or ticket. */
  identify(claimedNode: string): Verdict;
  readonly acceptor: EdgeAcceptor;
  readonly clock: Clock;
  readonly carry: Carry;
  /** Told once, when the edge is refused. */
  onRefused(refusal: Refusal): void;
  /** Told once, when a good edge is not taken now. */
  onLimited(limit: HelloLimit): void;
  /** A message was refused, and why in one word. */
  onDropped(reason: string): void;
  /** Told once, before the hub gets the connection. */
  onAccepted(connection: FramedConnection): void;
  /** Told once, when the session is over. */
  onEnded(): void;
}

export interface FramedOpeningOptions extends JsonLimits {
  readonly transport: TransportName;
  /** From the session to a whole hello frame. */
  readonly requestTimeoutMs: number;
  readonly writeTimeoutMs: number;
  readonly maxPendingUpstream: number;
  /** Told to the edge in the welcome. */
  readonly epoch: string;
  readonly maxMessageBytes: number;
  /** Whether messages come on the stream of the hello, or on streams of their own. */
  readonly messagesOnControl: boolean;
}

/**
 * Turns a session into a connection of the hub, or ends it: the edge opens its first stream → hello → match
 * the node → ask for admission → welcome. Nothing an edge sends before its welcome reaches a handler
 * (requirement G2).
 */
export class FramedOpening {
  readonly #components: FramedOpeningComponents;
  readonly #options: FramedOpeningOptions;
  readonly #decoder: FrameDecoder;
  #deadline: Timer | undefined;
  #connection: FramedConnection | undefined;
  #over = false;

  constructor(components: FramedOpeningComponents, options: FramedOpeningOptions) {
    this.#components = components;
    this.#options = options;
    // Before the welcome there are no messages.
    const limit = () => (this.#connection && options.messagesOnControl ? options.maxMessageBytes : 0);
    this.#decoder = new FrameDecoder({
      get maxMessageBytes() {
        return limit();
      },
    });
  }

  /** The connection, once there is one. */
  get connection(): FramedConnection | undefined {
    return this.#connection;
  }

  begin(): void {
    const { session, clock } = this.#components;
    this.#deadline = clock.setTimeout(
      () => this.end(closeReason('StreamTimeout')),
      this.#options.requestTimeoutMs,
    );
    session.follow({
      onControl: (stream) => this.#onControl(stream),
      onForbidden: (detail) => this.refuse(protocolRefusal(detail)),
      onClosed: (reason) => {
        this.#over = true;
        this.#deadline?.cancel();
        this.#components.onEnded();
        this.#connection?.ended(reason);
      },
    });
  }

  /** Ends a session that has not become a connection. */
  end(reason: CloseReason): void {
    if (!this.#connection) this.#stop(reason.code, closeText(reason));
  }

  refuse(refusal: Refusal): void {
    if (this.#over) return;
    this.#components.onRefused(refusal);
    const { code, text } = refused(refusal);
    this.#stop(code, text);
  }

  #onControl(stream: Duplex): void {
    // Without a listener it would end the process; the session's end says the same.
    stream.on('error', () => {});
    // The control stream lives as long as the connection.
    stream.on('end', () => this.#connection?.close(closeReason('Normal')));
    stream.on('data', (chunk: Buffer) => {
      if (this.#over) return;
      this.#connection?.onBytes(chunk.length);
      try {
        this.#decoder.push(chunk, (frame) => this.#onFrame(frame, stream));
      } catch (error) {
        if (this.#connection) this.#connection.onBroken(error);
        else this.refuse(protocolRefusal(describeError(error)));
      }
    });
  }

  #onFrame(frame: Frame, control: Duplex): void {
    if (this.#connection) this.#connection.onFrame(frame);
    else if (!this.#over) this.#onHello(frame, control);
  }

  #onHello(frame: Frame, control: Duplex): void {
    const { acceptor, identify } = this.#components;
    const { transport } = this.#options;
    const outcome = judgeHello(frame, { transport, identify, acceptor });
    if (outcome.ok) this.#welcome(outcome, control);
    else if (outcome.refusal) this.refuse(outcome.refusal);
    else {
      if (outcome.limit) this.#components.onLimited(outcome.limit);
      this.#stop(outcome.code, outcome.text);
    }
  }

  #welcome({ hello, identity }: HelloOutcome & { ok: true }, control: Duplex): void {
    const { session, acceptor, clock, carry, onAccepted, onDropped } = this.#components;
    const { transport, maxMessageBytes, maxPendingUpstream, writeTimeoutMs, epoch } = this.#options;
    this.#deadline?.cancel();
    const connection = new FramedConnection(
      { session, control, clock, carry },
      {
        transport,
        peer: identity,
        projectId: hello.project_id,
        ...(hello.sdk === undefined ? {} : { agent: hello.sdk }),
        maxMessageBytes,
        maxPendingUpstream,
        jsonLimits: this.#options,
        onDropped,
        writeTimeoutMs,
      },
    );
    this.#connection = connection;
    connection.sendControl(
      encodeWelcome({ session: connection.id, epoch, max_message_bytes: maxMessageBytes }),
    );
    onAccepted(connection);
    acceptor.accept(connection);
  }

  #stop(code: number, text: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#deadline?.cancel();
    this.#components.session.close(code, text);
  }
}
