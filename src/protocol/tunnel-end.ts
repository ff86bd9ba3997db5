import type { Duplex } from 'node:stream';

/** What a WebSocket of the library `ws` can do, as far as a tunnel needs it. */
export interface FrameSocket {
  send(data: Uint8Array, options: { binary: boolean }): void;
  on(event: 'message', listener: (data: Buffer, isBinary: boolean) => void): unknown;
  on(event: 'close' | 'error', listener: () => void): unknown;
  pause(): void;
  resume(): void;
  close(): void;
  terminate(): void;
}

/**
 * One end of the tunnel for `kubectl logs` and `exec`. Its frames are passed on as they are: KubeEdge puts
 * binary data into text frames, so the type of a frame is kept and nothing is decoded.
 */
export class TunnelEnd {
  readonly #socket: FrameSocket;
  readonly #stream: Duplex;
  readonly #onClose: (() => void)[] = [];

  /** @param stream what the WebSocket writes to */
  constructor(socket: FrameSocket, stream: Duplex) {
    this.#socket = socket;
    this.#stream = stream;
    socket.on('error', () => {});
    socket.on('close', () => {
      for (const tell of this.#onClose) tell();
    });
  }

  /** What comes in at one end goes out at the other, as fast as the slower one reads; both close together. */
  join(other: TunnelEnd): void {
    this.#passTo(other);
    other.#passTo(this);
  }

  onClose(listener: () => void): void {
    this.#onClose.push(listener);
  }

  /** Says goodbye, and waits for no answer. */
  close(): void {
    this.#socket.close();
    this.#socket.terminate();
  }

  #passTo(other: TunnelEnd): void {
    this.#socket.on('message', (data, binary) => {
      other.#socket.send(data, { binary });
      if (!other.#stream.writableNeedDrain) return;
      this.#socket.pause();
      other.#stream.once('drain', () => this.#socket.resume());
    });
    this.onClose(() => other.close());
  }
}
