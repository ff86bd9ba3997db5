import type { QuicServerSession, QuicStream } from '@currentspace/http3';
import type { EdgeAcceptor } from '../../contracts/edge-connection.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import { describeError } from '../../core/errors.ts';
import type { Refusal, Verdict } from '../../identity/node-identity.ts';
import type { PeerGate } from '../../identity/peer-gate.ts';
import { type CloseReason, closeReason, closeText } from '../../protocol/close-reasons.ts';
import { type Frame, FrameDecoder } from '../../protocol/codec-framed.ts';
import { encodeWelcome, type Hello } from '../../protocol/quic-control.ts';
import { type HelloLimit, type HelloOutcome, judgeHello, refused } from '../framed/hello.ts';
import { protocolRefusal } from '../refusals.ts';
import type { QuicListenerOptions } from './options.ts';
import { QuicConnection } from './quic-connection.ts';

export interface QuicOpeningComponents {
  readonly session: QuicServerSession;
  readonly gate: Pick<PeerGate, 'check'>;
  readonly acceptor: EdgeAcceptor;
  readonly clock: Clock;
  /** Told once, when the edge is refused. */
  onRefused(refusal: Refusal): void;
  /** Told once, when a good edge is not taken now. */
  onLimited(limit: HelloLimit): void;
  /** A message was refused, and why in one word. */
  onDropped(reason: string): void;
  /** Told once, before the hub gets the connection. */
  onAccepted(connection: QuicConnection): void;
}

/** The client's first stream (RFC 9000 §2.1); packets of later ones may overtake it. */
const CONTROL_STREAM = 0;

/**
 * Turns a QUIC session into a connection of the hub, or ends it: identify → read the hello → match the node →
 * ask for admission → welcome. Nothing an edge sends before its welcome reaches a handler (requirement G2).
 */
export class QuicOpening {
  readonly #components: QuicOpeningComponents;
  readonly #options: QuicListenerOptions;
  readonly #remoteAddress: string;
  readonly #decoder = new FrameDecoder({ maxMessageBytes: 0 });
  #deadline: Timer | undefined;
  #connection: QuicConnection | undefined;
  #over = false;

  constructor(components: QuicOpeningComponents, options: QuicListenerOptions, remoteAddress: string) {
    this.#components = components;
    this.#options = options;
    this.#remoteAddress = remoteAddress;
  }

  /** The connection, once there is one. */
  get connection(): QuicConnection | undefined {
    return this.#connection;
  }

  begin(): void {
    const { session, clock } = this.#components;
    const verdict = this.#identify(undefined);
    // A certificate that names no node may still be let in by the name in the hello.
    if (!verdict.ok && verdict.reason !== 'legacy-certificate') {
      this.#refuse(verdict);
      return;
    }
    this.#deadline = clock.setTimeout(
      () => this.end(closeReason('StreamTimeout')),
      this.#options.requestTimeoutMs,
    );
    session.on('stream', (stream) => this.#onStream(stream));
  }

  /** Ends a session that has not become a connection. */
  end(reason: CloseReason): void {
    this.#stop(reason.code, closeText(reason));
  }

  /** The session has ended. */
  ended(reason: CloseReason | undefined): void {
    this.#over = true;
    this.#deadline?.cancel();
    this.#connection?.ended(reason);
  }

  #onStream(stream: QuicStream): void {
    if (stream.id === CONTROL_STREAM) {
      this.#onControl(stream);
      return;
    }
    if (this.#connection) {
      this.#connection.addStream(stream);
      return;
    }
    stream.on('error', () => {});
    this.#refuse(protocolRefusal('a message stream was opened before the welcome'));
  }

  #onControl(stream: QuicStream): void {
    stream.on('error', () => {});
    // The control stream lives as long as the connection.
    stream.on('end', () => this.#connection?.close(closeReason('Normal')));
    stream.on('data', (chunk: Buffer) => {
      if (this.#over) return;
      try {
        this.#decoder.push(chunk, (frame) => {
          if (this.#connection) this.#connection.onControlFrame(frame);
          else if (!this.#over) this.#onHello(frame, stream);
        });
      } catch (error) {
        if (this.#connection) this.#connection.onControlBroken(error);
        else this.#refuse(protocolRefusal(describeError(error)));
      }
    });
  }

  #onHello(frame: Frame, control: QuicStream): void {
    const outcome = judgeHello(frame, {
      transport: 'quic',
      identify: (claimedNode) => this.#identify(claimedNode),
      acceptor: this.#components.acceptor,
    });
    if (outcome.ok) this.#welcome(outcome.hello, outcome.identity, control);
    else if (outcome.refusal) this.#refuse(outcome.refusal);
    else this.#limit(outcome);
  }

  #welcome(hello: Hello, peer: QuicConnection['peer'], control: QuicStream): void {
    const { session, clock, acceptor, onAccepted, onDropped } = this.#components;
    const { maxMessageBytes, maxPendingUpstream, streamTimeoutMs, writeTimeoutMs, epoch } = this.#options;
    this.#deadline?.cancel();
    const connection = new QuicConnection(
      { session, control, clock },
      {
        peer,
        remoteAddress: this.#remoteAddress,
        projectId: hello.project_id,
        ...(hello.sdk === undefined ? {} : { agent: hello.sdk }),
        maxMessageBytes,
        maxPendingUpstream,
        jsonLimits: this.#options,
        onDropped,
        streamTimeoutMs,
        writeTimeoutMs,
      },
    );
    this.#connection = connection;
    control.write(encodeWelcome({ session: connection.id, epoch, max_message_bytes: maxMessageBytes }));
    onAccepted(connection);
    acceptor.accept(connection);
  }

  #identify(claimedNode: string | undefined): Verdict {
    const { session, gate } = this.#components;
    try {
      const [leaf, ...intermediates] = session.getPeerCertificateChain();
      return gate.check(leaf, intermediates, claimedNode);
    } catch {
      return { ok: false, reason: 'malformed-certificate', detail: 'the client certificate cannot be read' };
    }
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
