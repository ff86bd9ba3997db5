import { randomBytes } from 'node:crypto';
import type { Secret, SecretStore } from '../contracts/secret-store.ts';
import type { ServedCertificate } from '../contracts/served-certificates.ts';
import type { Clock } from '../core/clock.ts';
import { SharedRecord } from '../core/shared-record.ts';
import { LISTENERS } from '../protocol/listener-names.ts';

/** Where the reports stand in their Secret. */
export const REPORTS_FIELD = 'served.json';
const MAX_REPLICAS = 64;
const MAX_BYTES = 128 * 1024;
/**
 * A replica that was not heard of for so long is forgotten, milliseconds; it reports at least every {@link
 * REPORT_EVERY_MS}.
 */
const FORGET_MS = 1_800_000;
/** How often a replica tells the same again, if there are others to read it, milliseconds. */
export const REPORT_EVERY_MS = 600_000;

interface Report {
  readonly at: number;
  readonly items: readonly ServedCertificate[];
}
/** Name of a run → its report: after a crash a replica comes back under the same name. */
type Reports = ReadonlyMap<string, Report>;

/**
 * What replicas tell each other of the certificates they serve. Nothing depends on it, so what cannot be read
 * of it is left out.
 */
export class ReplicaReports {
  readonly #clock: Clock;
  readonly #record: SharedRecord<Reports>;
  readonly #run = randomBytes(6).toString('base64url');
  #hasOthers = true;

  constructor({ store, clock }: { store: SecretStore; clock: Clock }, { secret }: { secret: string }) {
    this.#clock = clock;
    this.#record = new SharedRecord(
      { store, clock },
      {
        name: secret,
        codec: {
          decode: (stored) => ({ value: this.#decode(stored) }),
          encode: (reports, previous) => ({ ...previous, [REPORTS_FIELD]: encode(reports) }),
        },
      },
    );
  }

  /** Whether another replica was there when the Secret was last read; taken for granted until then. */
  get hasOthers(): boolean {
    return this.#hasOthers;
  }

  /** What the others told. @throws errors of the store */
  async others(): Promise<readonly ServedCertificate[]> {
    return this.#others(await this.#record.read());
  }

  /** @returns what the others told @throws errors of the store */
  publish(items: readonly ServedCertificate[]): Promise<readonly ServedCertificate[]> {
    return this.#change((reports) => new Map([...reports, [this.#run, { at: this.#clock.now(), items }]]));
  }

  /** Takes the own report back. @throws errors of the store */
  withdraw(): Promise<unknown> {
    return this.#change((reports) =>
      reports.has(this.#run) ? new Map([...reports].filter(([run]) => run !== this.#run)) : reports,
    );
  }

  async #change(change: (reports: Reports) => Reports): Promise<readonly ServedCertificate[]> {
    return this.#others((await this.#record.change(change)).value);
  }

  #others(reports: Reports): readonly ServedCertificate[] {
    const others = [...reports].filter(([run]) => run !== this.#run);
    this.#hasOthers = others.length > 0;
    return others.flatMap(([, { items }]) => items);
  }

  #decode(secret: Secret | undefined): Reports {
    const reports = new Map<string, Report>();
    try {
      const stored: unknown = JSON.parse(Buffer.from(secret?.data[REPORTS_FIELD] ?? '{}').toString('utf8'));
      for (const [run, value] of Object.entries(stored ?? {})) {
        const { at, items } = (value ?? {}) as Record<string, unknown>;
        if (typeof at !== 'number' || !Array.isArray(items)) continue;
        if (Math.abs(this.#clock.now() - at) > FORGET_MS) continue;
        reports.set(run, { at, items: items.filter(isServed) });
      }
    } catch {
      // As if there were none: every replica writes its own again.
    }
    return reports;
  }
}

/** Bounded: the replicas that were silent longest go first. */
function encode(reports: Reports): Uint8Array {
  let kept = [...reports].sort(([, a], [, b]) => b.at - a.at).slice(0, MAX_REPLICAS);
  for (;;) {
    const bytes = Buffer.from(JSON.stringify(Object.fromEntries(kept)));
    if (bytes.length <= MAX_BYTES || kept.length <= 1) return bytes;
    kept = kept.slice(0, Math.floor(kept.length / 2));
  }
}

function isServed(value: unknown): value is ServedCertificate {
  const one = (value ?? {}) as Record<string, unknown>;
  const isText = (key: string) => typeof one[key] === 'string' && (one[key] as string).length <= 1_000;
  return (
    ['replica', 'wantedSha256', 'checkedAt'].every(isText) &&
    Object.hasOwn(LISTENERS, String(one.listener)) &&
    ['servedSha256', 'notAfter', 'problem'].every((key) => one[key] === undefined || isText(key))
  );
}
