import type { Metrics } from '../core/metrics.ts';
import type { TransportName } from '../protocol/listener-names.ts';

type Direction = 'upstream' | 'downstream';

/**
 * Counts messages in plain numbers and hands them to the metrics once a turn of the event loop: a labelled
 * counter costs about as much as parsing a small message.
 */
export class TrafficMeter {
  readonly #metrics: Metrics;
  readonly #sums = new Map<
    string,
    { direction: Direction; transport: TransportName; messages: number; bytes: number }
  >();
  #scheduled = false;

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  count(direction: Direction, transport: TransportName, bytes: number): void {
    this.#add(direction, transport, 1, bytes);
  }

  /** Bytes whose messages were counted already. */
  addBytes(direction: Direction, transport: TransportName, bytes: number): void {
    this.#add(direction, transport, 0, bytes);
  }

  #add(direction: Direction, transport: TransportName, messages: number, bytes: number): void {
    const key = direction === 'upstream' ? transport : `>${transport}`;
    let sum = this.#sums.get(key);
    if (!sum) {
      sum = { direction, transport, messages: 0, bytes: 0 };
      this.#sums.set(key, sum);
    }
    sum.messages += messages;
    sum.bytes += bytes;
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#scheduled = false;
    for (const sum of this.#sums.values()) {
      const labels = { direction: sum.direction, transport: sum.transport };
      if (sum.messages > 0) this.#metrics.messages.inc(labels, sum.messages);
      if (sum.bytes > 0) this.#metrics.messageBytes.inc(labels, sum.bytes);
      sum.messages = 0;
      sum.bytes = 0;
    }
  }
}
