import { encodeRevocations, LIST_FIELD } from '../../../src/certs/revocation/revocation-codec.ts';
import { RevocationList } from '../../../src/certs/revocation/revocation-list.ts';
import type { SecretStore } from '../../../src/contracts/secret-store.ts';
import type { Clock } from '../../../src/core/clock.ts';
import { SharedRecord } from '../../../src/core/shared-record.ts';

interface Receipt {
  readonly replica: string;
  readonly version: number;
  readonly aliveAt: number;
}

/**
 * How a replica of 0.1 tells and reads receipts: in the Secrets of the states, as a map of runs for the
 * revocations and as rows for the rollover; a sign of life a minute, and only where it sees others.
 */
export class ElderReplica {
  readonly #revocations: SharedRecord<Readonly<Record<string, Receipt>>>;
  readonly #rollover: SharedRecord<readonly { run: string; replica: string; version: number }[]>;
  readonly #clock: Clock;
  readonly #replica: string;
  readonly #store: SecretStore;
  #version = 0;
  #toldAt = Number.NEGATIVE_INFINITY;
  #stop = () => {};

  constructor({ store, clock }: { store: SecretStore; clock: Clock }, replica: string) {
    this.#store = store;
    this.#clock = clock;
    this.#replica = replica;
    const record = <T>(name: string, none: T) =>
      new SharedRecord<T>(
        { store, clock },
        {
          name,
          codec: {
            decode: (stored) => {
              const bytes = stored?.data['receipts.json'];
              return { value: bytes ? (JSON.parse(Buffer.from(bytes).toString()) as T) : none };
            },
            encode: (receipts, previous) => ({
              ...(name === 'sallyport-revocations'
                ? { [LIST_FIELD]: encodeRevocations(RevocationList.EMPTY) }
                : {}),
              ...previous,
              'receipts.json': Buffer.from(JSON.stringify(receipts)),
            }),
          },
        },
      );
    this.#revocations = record('sallyport-revocations', {});
    this.#rollover = record('sallyport-rollover', []);
  }

  async start(): Promise<void> {
    await this.#tell();
    const unwatch = this.#store.watch(
      ['sallyport-revocations'],
      () => void this.#look(),
      () => {},
    );
    const timer = this.#clock.setInterval(() => void this.#look(), 60_000);
    this.#stop = () => {
      unwatch();
      timer.cancel();
    };
  }

  /** Dies: its receipt stays. */
  kill(): void {
    this.#stop();
  }

  /** Follows the list up to this version, and says so. */
  async follow(version: number): Promise<void> {
    this.#version = version;
    await this.#tell();
  }

  /** Says that it knows this version of the rollover. */
  async acknowledge(version: number): Promise<void> {
    const row = { run: `r-${this.#replica}`, replica: this.#replica, version, at: this.#clock.now() };
    await this.#rollover.change((rows) => [...rows.filter(({ run }) => run !== row.run), row]);
  }

  /** Replicas that it counts as alive, with the version each has in force. */
  async alive(): Promise<Record<string, number>> {
    const living = Object.values(await this.#revocations.read()).filter(
      ({ aliveAt }) => this.#clock.now() - aliveAt < 150_000,
    );
    return Object.fromEntries(living.map(({ replica, version }) => [replica, version]));
  }

  /** Replicas whose receipt for the rollover it sees. */
  async acknowledged(): Promise<Record<string, number>> {
    return Object.fromEntries(
      (await this.#rollover.read()).map(({ replica, version }) => [replica, version]),
    );
  }

  async #look(): Promise<void> {
    const hasOthers = Object.keys(await this.#revocations.read()).some((run) => run !== this.#replica);
    if (hasOthers && this.#clock.monotonic() - this.#toldAt >= 60_000) await this.#tell();
  }

  async #tell(): Promise<void> {
    this.#toldAt = this.#clock.monotonic();
    const now = this.#clock.now();
    const receipt = {
      replica: this.#replica,
      version: this.#version,
      appliedAt: now,
      aliveAt: now,
      closed: [],
    };
    await this.#revocations.change((receipts) => ({ ...receipts, [this.#replica]: receipt }));
  }
}
