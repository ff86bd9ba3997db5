import type { Duplex } from 'node:stream';
import type { EdgeAcceptor } from '../../contracts/edge-connection.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import { describeError } from '../../core/errors.ts';
import type { Refusal, Verdict } from '../../identity/node-identity.ts';
import { type CloseReason, closeReason, closeText } from '../../protocol/close-reasons.ts';
import { type Frame, FrameDecoder } from '../../protocol/codec-framed.ts';
import { encodeWelcome } from '../../protocol/quic-control.ts';
import { type HelloLimit, type HelloOutcome, judgeHello, refused } from '../framed/hello.ts';
import { protocolRefusal } from '../refusals.ts';
import type { EdgeSession } from './edge-session.ts';
import type { WebTransportListenerOptions } from './options.ts';
import { WebTransportConnection } from './webtransport-connection.ts';

export interface WebTransportOpeningComponents {
  readonly session: EdgeSession;
  /** Who the peer is, by its certificate or ticket. */
  identify(claimedNode: string): Verdict;
  readonly acceptor: EdgeAcceptor;
  readonly clock: Clock;
  /** Told once, when the edge is refused. */
  onRefused(refusal: Refusal): void;
  /** Told once, when a good edge is not taken now. */
  onLimited(limit: HelloLimit): void;
  /** Told once, before the hub gets the connection. */
  onAccepted(connection: WebTransportConnection): void;
  /** Told once, when the session is over. */
  onEnded(): void;
}

/**
 * Turns a session into a connection of the hub, or ends it: the edge opens its one stream → hello → match the
 * node → ask for admission → welcome. Nothing an edge sends before its welcome reaches a handler (requirement
 * G2).
 */
export class WebTransportOpening {
  readonly #components: WebTransportOpeningComponents;
  readonly #options: WebTransportListenerOptions;
  readonly #decoder: FrameDecoder;
  #deadline: Timer | undefined;
  #connection: WebTransportConnection | undefined;
  #over = false;

  constructor(components: WebTransportOpeningComponents, options: WebTransportListenerOptions) {
    this.#components = components;
    this.#options = options;
    // Before the welcome there are no messages.
    const limit = () => (this.#connection ? options.maxMessageBytes : 0);
    this.#decoder = new FrameDecoder({
      get maxMessageBytes() {
        return limit();
      },
    });
  }

  /** The connection, once there is one. */
  get connection(): WebTransportConnection | undefined {
    return this.#connection;
  }

  begin(): void {
    const { session, clock } = this.#components;
    this.#deadline = clock.setTimeout(
      () => this.end(closeReason('StreamTimeout')),
      this.#options.limits.requestTimeoutMs,
    );
    session.follow({
      onStream: (stream) => this.#onStream(stream),
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

  /** Ends it without words. */
  destroy(): void {
    this.#components.session.destroy();
  }

  #onStream(stream: Duplex): void {
    stream.on('end', () => this.#connection?.close(closeReason('Normal')));
    stream.on('data', (chunk: Buffer) => {
      if (this.#over) return;
      this.#connection?.onBytes(chunk.length);
      try {
        this.#decoder.push(chunk, (frame) => this.#onFrame(frame, stream));
      } catch (error) {
        if (this.#connection) this.#connection.onBroken(error);
        else this.#refuse(protocolRefusal(describeError(error)));
      }
    });
  }

  #onFrame(frame: Frame, stream: Duplex): void {
    if (this.#connection) {
      this.#connection.onFrame(frame);
      return;
    }
    if (this.#over) return;
    const { session, acceptor, clock, onAccepted, identify } = this.#components;
    const outcome = judgeHello(frame, { transport: 'webtransport', identify, acceptor });
    if (!outcome.ok) {
      if (outcome.refusal) this.#refuse(outcome.refusal);
      else this.#limit(outcome);
      return;
    }
    this.#deadline?.cancel();
    const { limits, maxMessageBytes, maxPendingUpstream, sessionBytes, epoch } = this.#options;
    const { hello, identity } = outcome;
    const connection = new WebTransportConnection(
      { session, stream, clock },
      {
        peer: identity,
        projectId: hello.project_id,
        ...(hello.sdk === undefined ? {} : { agent: hello.sdk }),
        maxPendingUpstream,
        writeTimeoutMs: limits.writeTimeoutMs,
        sessionBytes,
        reconnectWithinMs: limits.drainMs,
      },
    );
    this.#connection = connection;
    connection
      .write(encodeWelcome({ session: connection.id, epoch, max_message_bytes: maxMessageBytes }))
      .catch(() => {});
    onAccepted(connection);
    acceptor.accept(connection);
  }

  #refuse(refusal: Refusal): void {
    if (this.#over) return;
    this.#components.onRefused(refusal);
    const { code, text } = refused(refusal);
    this.#stop(code, text);
  }

  #limit({ code, text, limit }: HelloOutcome & { ok: false }): void {
    if (limit) this.#components.onLimited(limit);
    this.#stop(code, text);
  }

  #stop(code: number, text: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#deadline?.cancel();
    this.#components.session.close(code, text);
  }
}
