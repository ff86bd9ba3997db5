import type { RawData, WebSocket } from 'ws';
import type { Clock, Timer } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { type CloseReason, closeReason, closeText, parseClose } from '../../protocol/close-reasons.ts';
import { decodeJson, encodeJson } from '../../protocol/codec-json.ts';
import type { Message } from '../../protocol/message.ts';
import type { EdgeLink, EdgeLinkHandler } from './transport.ts';

export interface WebSocketLinkOptions {
  readonly remoteAddress: string;
  readonly pingIntervalMs: number;
  readonly writeTimeoutMs: number;
  readonly maxMessageBytes: number;
}

/** How long the hub may take to answer a close frame before the socket is cut. */
const CLOSE_TIMEOUT_MS = 2_000;

/** One open WebSocket to the hub. It is given paused; `receive` sets it going. */
export class WebSocketLink implements EdgeLink {
  readonly transport = 'websocket';
  readonly remoteAddress: string;
  readonly #socket: WebSocket;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #options: WebSocketLinkOptions;
  #pinger: Timer | undefined;
  #unwritten = 0;
  #writeDeadline: Timer | undefined;
  #closeDeadline: Timer | undefined;
  #heard = true;
  #reason: CloseReason | undefined;

  constructor(
    components: { socket: WebSocket; clock: Clock; logger: Logger },
    options: WebSocketLinkOptions,
  ) {
    this.#socket = components.socket;
    this.#clock = components.clock;
    this.#logger = components.logger;
    this.#options = options;
    this.remoteAddress = options.remoteAddress;
  }

  receive(handler: EdgeLinkHandler): void {
    const socket = this.#socket;
    socket.on('message', (data: RawData, isBinary: boolean) => {
      this.#heard = true;
      this.#read(data, isBinary, handler);
    });
    socket.on('pong', () => {
      this.#heard = true;
    });
    socket.on('ping', () => {
      this.#heard = true;
    });
    const ended = (code: number, text: string) => {
      this.#pinger?.cancel();
      this.#writeDeadline?.cancel();
      this.#closeDeadline?.cancel();
      handler.onClose(this.#reason ?? parseClose(code, text));
    };
    // The hub may have gone between the upgrade and this call.
    if (socket.readyState === socket.CLOSED) {
      ended(1006, '');
      return;
    }
    socket.once('close', (code, text) => ended(code, text.toString('utf8')));
    this.#pinger = this.#clock.setInterval(() => this.#ping(), this.#options.pingIntervalMs);
    socket.resume();
  }

  send(message: Message): Promise<void> {
    const frame = encodeJson(message);
    const { maxMessageBytes } = this.#options;
    if (frame.length > maxMessageBytes)
      return Promise.reject(
        new SallyportError('MESSAGE_INVALID', { problem: `it is larger than ${maxMessageBytes} bytes` }),
      );
    if (this.#socket.readyState !== this.#socket.OPEN) return Promise.reject(this.#closed());
    this.#watchWrite(1);
    return new Promise((resolve, reject) => {
      this.#socket.send(frame, { binary: false }, (error) => {
        this.#watchWrite(-1);
        if (error) reject(this.#closed(error));
        else resolve();
      });
    });
  }

  close(reason: CloseReason): void {
    if (this.#reason) return;
    this.#reason = reason;
    this.#socket.close(reason.code, closeText(reason));
    this.#closeDeadline = this.#clock.setTimeout(() => this.#socket.terminate(), CLOSE_TIMEOUT_MS);
  }

  #read(data: RawData, isBinary: boolean, handler: EdgeLinkHandler): void {
    if (this.#reason) return;
    if (isBinary) {
      this.close(closeReason('UnsupportedData'));
      return;
    }
    let message: Message;
    try {
      message = decodeJson(data as Buffer);
    } catch (err) {
      this.#logger.warn({ err }, 'the hub sent something that is no message');
      this.close(closeReason('ProtocolError'));
      return;
    }
    handler.onMessage(message);
  }

  /** TCP alone notices a vanished hub only after a quarter of an hour. */
  #ping(): void {
    if (!this.#heard) {
      this.#logger.warn({ hub: this.remoteAddress }, 'the hub has fallen silent');
      this.#socket.terminate();
      return;
    }
    this.#heard = false;
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.ping();
  }

  #watchWrite(change: 1 | -1): void {
    this.#unwritten += change;
    this.#writeDeadline?.cancel();
    this.#writeDeadline = undefined;
    if (this.#unwritten === 0) return;
    this.#writeDeadline = this.#clock.setTimeout(() => {
      this.#logger.warn({ hub: this.remoteAddress }, 'the hub did not take a message in time');
      this.#socket.terminate();
    }, this.#options.writeTimeoutMs);
  }

  #closed(cause?: unknown): SallyportError {
    return new SallyportError('SESSION_CLOSED', { reason: this.#reason?.text ?? 'connection lost' }, cause);
  }
}
