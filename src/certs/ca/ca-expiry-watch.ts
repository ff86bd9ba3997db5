import type { CaCertificate, CertificateSource } from '../../contracts/certificate-source.ts';
import type { EventRecorder } from '../../contracts/event-recorder.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import type { Component } from '../../core/lifecycle.ts';
import type { Logger } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { Unsubscribe } from '../../core/property.ts';
import { oneLine } from '../x509/certificate-names.ts';

export interface CaExpiryComponents {
  readonly source: CertificateSource;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events?: EventRecorder;
  readonly metrics: Pick<Metrics, 'caExpiryLevel'>;
}

export interface CaExpiryOptions {
  /** The CA Secret, which the events are about. */
  readonly caSecret: string;
}

const DAY_MS = 86_400_000;
/**
 * Days that are left, and the level from then on (requirement C5): a rollover takes as long as nodes stay
 * away.
 */
const LEVELS: readonly (readonly [days: number, level: number])[] = [
  [0, 4],
  [7, 3],
  [30, 2],
  [180, 1],
];
const CHECK_MS = 3_600_000;

/**
 * Warns before a trusted CA ends, louder each time (requirement C5): a gauge, and at each level a line in the
 * log and an event.
 */
export class CaExpiryWatch implements Component {
  readonly name = 'CA expiry';
  readonly #components: CaExpiryComponents;
  readonly #options: CaExpiryOptions;
  /** SHA-256 of CA → the level that was told. */
  #told = new Map<string, number>();
  #timer: Timer | undefined;
  #unsubscribe: Unsubscribe = () => {};

  constructor(components: CaExpiryComponents, options: CaExpiryOptions) {
    this.#components = components;
    this.#options = options;
  }

  async start(): Promise<void> {
    const { clock, source } = this.#components;
    this.#unsubscribe = source.onChange(() => this.#check());
    this.#timer = clock.setInterval(() => this.#check(), CHECK_MS);
    this.#check();
  }

  async stop(): Promise<void> {
    this.#unsubscribe();
    this.#timer?.cancel();
  }

  #check(): void {
    const { source, clock, metrics } = this.#components;
    const before = this.#told;
    this.#told = new Map();
    metrics.caExpiryLevel.reset();
    for (const ca of source.current().clientCAs) {
      const leftMs = ca.notAfter.getTime() - clock.now();
      const level = LEVELS.find(([days]) => leftMs <= days * DAY_MS)?.[1] ?? 0;
      metrics.caExpiryLevel.set({ subject: oneLine(ca.subject), sha256: ca.sha256 }, level);
      this.#told.set(ca.sha256, level);
      if (level > (before.get(ca.sha256) ?? 0)) this.#tell(ca, level);
    }
  }

  #tell(ca: CaCertificate, level: number): void {
    const { log, events } = this.#components;
    const within = LEVELS.find(([, one]) => one === level)![0];
    const when = level === 4 ? 'has ended' : `ends within ${within} days`;
    const fields = { ca: ca.sha256, subject: oneLine(ca.subject), notAfter: ca.notAfter.toISOString() };
    const advice = 'roll over: sallyport ca rollover prepare';
    if (level >= 2) log.error(fields, `a trusted CA ${when}; ${advice}`);
    else log.warn(fields, `a trusted CA ${when}; ${advice}`);
    events?.record({
      reason: 'CertificateAuthorityExpiring',
      type: 'Warning',
      secret: this.#options.caSecret,
      message: `CA ${ca.sha256.slice(0, 16)} ${when}, at ${fields.notAfter}; ${advice}`,
    });
  }
}
