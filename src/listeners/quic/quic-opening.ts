import type { QuicServerSession, QuicStream } from '@currentspace/http3';
import type { EdgeAcceptor } from '../../contracts/edge-connection.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import { describeError } from '../../core/errors.ts';
import type { Refusal, Verdict } from '../../identity/node-identity.ts';
import type { PeerGate } from '../../identity/peer-gate.ts';
import {
  type CloseReason,
  type CloseReasonName,
  closeReason,
  closeText,
} from '../../protocol/close-reasons.ts';
import { FRAME_TYPES, type Frame, FrameDecoder } from '../../protocol/codec-framed.ts';
import { encodeWelcome, type Hello, parseHello, refusalText } from '../../protocol/quic-control.ts';
import type { QuicListenerOptions } from './options.ts';
import { QuicConnection } from './quic-connection.ts';

export interface QuicOpeningComponents {
  readonly session: QuicServerSession;
  readonly gate: Pick<PeerGate, 'check'>;
  readonly acceptor: EdgeAcceptor;
  readonly clock: Clock;
  /** Told once, when the edge is refused. */
  onRefused(refusal: Refusal): void;
  /** Told once, before the hub gets the connection. */
  onAccepted(connection: QuicConnection): void;
}

/** The client's first stream (RFC 9000 §2.1); packets of later ones may overtake it. */
const CONTROL_STREAM = 0;

/**
 * Turns a QUIC session into a connection of the hub, or ends it: identify → read the hello → match the node → ask for admission → welcome.
 * Nothing an edge sends before its welcome reaches a handler (requirement G2).
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
    this.#refuse(protocolRefusal('a message stream was opened before the welcome'), 'ProtocolError');
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
        else this.#refuse(protocolRefusal(describeError(error)), 'ProtocolError');
      }
    });
  }

  #onHello(frame: Frame, control: QuicStream): void {
    if (frame.type !== FRAME_TYPES.hello) {
      this.#refuse(protocolRefusal('the first frame is not a hello'), 'ProtocolError');
      return;
    }
    const hello = parseHello(frame.payload);
    const verdict = this.#identify(hello.node_id);
    if (!verdict.ok) {
      this.#refuse(verdict);
      return;
    }
    const { identity } = verdict;
    if (hello.node_id !== identity.nodeName) {
      this.#refuse(
        {
          ok: false,
          reason: 'node-mismatch',
          detail: `the certificate belongs to node ${identity.nodeName}, the hello names another`,
          claimedNode: identity.nodeName,
        },
        'NodeMismatch',
      );
      return;
    }
    const admission = this.#components.acceptor.admit(identity, 'quic');
    if (!admission.ok) {
      const { close, detail, retryAfterMs } = admission;
      this.#stop(close.code, refusalText(close.name, 'limit', detail, retryAfterMs));
      return;
    }
    this.#welcome(hello, verdict.identity, control);
  }

  #welcome(hello: Hello, peer: QuicConnection['peer'], control: QuicStream): void {
    const { session, clock, acceptor, onAccepted } = this.#components;
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

  #refuse(refusal: Refusal, name: CloseReasonName = CLOSE_OF[refusal.reason]): void {
    if (this.#over) return;
    this.#components.onRefused(refusal);
    this.#stop(closeReason(name).code, refusalText(name, refusal.reason, refusal.detail));
  }

  #stop(code: number, text: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#deadline?.cancel();
    this.#components.session.close(code, text);
  }
}

function protocolRefusal(detail: string): Refusal {
  return { ok: false, reason: 'protocol', detail };
}

/** The close reason that tells the edge what to do about a refusal. */
const CLOSE_OF = {
  'no-certificate': 'Unauthenticated',
  'malformed-certificate': 'Unauthenticated',
  'unknown-ca': 'TrustRemoved',
  expired: 'CertificateExpired',
  'not-yet-valid': 'TryAgainLater',
  'wrong-usage': 'Unauthenticated',
  'no-node-name': 'Unauthenticated',
  'legacy-certificate': 'Unauthenticated',
  revoked: 'Revoked',
  'node-mismatch': 'NodeMismatch',
  protocol: 'ProtocolError',
} as const satisfies Record<Refusal['reason'], CloseReasonName>;
