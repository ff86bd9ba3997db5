import type { Admission, EdgeAcceptor, EdgeConnection } from '../../src/contracts/edge-connection.ts';
import type { CloseReason } from '../../src/protocol/close-reasons.ts';
import type { Message } from '../../src/protocol/message.ts';

/** One accepted connection and all that came over it. */
export interface Recorded {
  readonly connection: EdgeConnection;
  readonly messages: Message[];
  readonly sizes: number[];
  alive: number;
  /** Every call of `onClose`. */
  readonly closes: (CloseReason | undefined)[];
}

/** A hub that admits by `admission` and records what edges do. */
export class RecordingAcceptor implements EdgeAcceptor {
  readonly accepted: Recorded[] = [];
  admission: Admission = { ok: true };
  /** What `onArrival` returns. */
  onArrival: () => undefined | Promise<void> = () => undefined;
  /** What `onMessage` returns. */
  onMessage: (message: Message) => void | Promise<void> = () => {};

  admit(): Admission {
    return this.admission;
  }

  accept(connection: EdgeConnection): void {
    const record: Recorded = { connection, messages: [], sizes: [], alive: 0, closes: [] };
    this.accepted.push(record);
    connection.receive({
      onArrival: () => this.onArrival(),
      onMessage: (message, bytes) => {
        record.messages.push(message);
        record.sizes.push(bytes);
        return this.onMessage(message);
      },
      onAlive: () => {
        record.alive++;
      },
      onClose: (reason) => {
        record.closes.push(reason);
      },
    });
  }
}
