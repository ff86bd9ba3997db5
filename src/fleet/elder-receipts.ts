import type { ElderReplicas, ReplicaEntry } from '../contracts/replica-board.ts';
import type { Clock } from '../core/clock.ts';
import { decodeReceipts, type Entries, encodeReceipts, without } from './replica-entry.ts';

export interface ElderReceiptsComponents {
  readonly clock: Clock;
  /** How often a sign of life is due, milliseconds. */
  readonly aliveMs: number;
  /** Run and entry of this replica. */
  readonly self: () => readonly [run: string, entry: ReplicaEntry];
  readonly isOnBoard: (run: string) => boolean;
  readonly isAlive: (entry: ReplicaEntry) => boolean;
}

/**
 * The receipts of replicas of 0.1. They say that they live only to others, and know only whom they see there:
 * so one that was silent for long is given one sign of life, and answers it if it lives.
 */
export class ElderReceipts implements ElderReplicas {
  readonly #components: ElderReceiptsComponents;
  #receipts: Entries = new Map();
  #answeredAt = Number.NEGATIVE_INFINITY;

  constructor(components: ElderReceiptsComponents) {
    this.#components = components;
  }

  /** Who is on the board too has left its receipt for elders. */
  get entries(): Entries {
    const { self, isOnBoard } = this.#components;
    const [own] = self();
    return new Map([...this.#receipts].filter(([run]) => run !== own && !isOnBoard(run)));
  }

  get present(): boolean {
    const { self, isOnBoard, isAlive } = this.#components;
    // Before that, replicas of today are not known.
    if (!isOnBoard(self()[0])) return false;
    const elders = [...this.entries.values()];
    return elders.some(isAlive) || (elders.length > 0 && this.#answeredAt === Number.NEGATIVE_INFINITY);
  }

  get waiting(): boolean {
    const { clock, aliveMs } = this.#components;
    return clock.monotonic() - this.#answeredAt >= aliveMs && this.present;
  }

  hear(receipts: Uint8Array | undefined): void {
    this.#receipts = decodeReceipts(receipts);
  }

  answer(receipts: Uint8Array | undefined): Uint8Array | undefined {
    const { clock, self } = this.#components;
    this.hear(receipts);
    if (!this.present) return receipts;
    this.#answeredAt = clock.monotonic();
    return encodeReceipts(new Map([...this.#receipts, self()]), clock.now());
  }

  leave(receipts: Uint8Array | undefined): Uint8Array | undefined {
    const { clock, self } = this.#components;
    const entries = decodeReceipts(receipts);
    const kept = without(entries, self()[0]);
    return kept === entries ? receipts : encodeReceipts(kept, clock.now());
  }
}
