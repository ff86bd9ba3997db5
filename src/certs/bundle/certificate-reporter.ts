import type { CertificateInfo } from '../../contracts/certificate-issuer.ts';
import type { CertificateBundle } from '../../contracts/certificate-source.ts';
import type { EventReason } from '../../contracts/event-recorder.ts';
import type { LogFields } from '../../core/log.ts';
import type { CertificateComponents } from './certificate-components.ts';
import { publishValidity } from './certificate-status.ts';
import type { StoredProblem } from './evaluate-snapshot.ts';

/** What log, metrics and Events say about the certificates; each problem once, when it appears. */
export class CertificateReporter {
  readonly #components: Omit<CertificateComponents, 'store'>;
  readonly #hubSecret: string;
  #stored: readonly StoredProblem[] = [];
  #unreadable: ReadonlyMap<string, string> = new Map();
  #lastReload: Date;

  constructor(components: Omit<CertificateComponents, 'store'>, { hubSecret }: { hubSecret: string }) {
    this.#components = components;
    this.#hubSecret = hubSecret;
    this.#lastReload = new Date(components.clock.now());
    components.metrics.lastReloadSuccessful.set(1);
  }

  /** When the bundle changed last. */
  get lastReload(): Date {
    return this.#lastReload;
  }

  /** What is wrong with the CA Secret. */
  get caProblem(): string | undefined {
    return this.#stored.find(({ reason }) => reason.startsWith('ca-'))?.problem;
  }

  /** What is wrong with what is stored, a line each. */
  get problems(): string[] {
    const stored = this.#stored.map(({ secret, problem }) => `secret ${secret}: ${problem}`);
    return [...stored, ...this.#unreadable.values()];
  }

  /** @param unreadable Secrets that exist and cannot be read, with what is wrong */
  unreadable(unreadable: ReadonlyMap<string, string>): void {
    for (const name of unreadable.keys())
      if (!this.#unreadable.has(name))
        this.#components.metrics.reloads.inc({ result: 'failure', reason: 'unreadable' });
    this.#unreadable = unreadable;
  }

  /** @param fields for the log, of a problem with this reason */
  stored(problems: readonly StoredProblem[], fields: Partial<Record<string, LogFields>>): void {
    const { log, metrics } = this.#components;
    const known = new Set(this.#stored.map(({ problem }) => problem));
    for (const { secret, reason, problem } of problems) {
      if (known.has(problem)) continue;
      metrics.reloads.inc({ result: 'failure', reason });
      log.error(
        { secret, reason, problem, ...fields[reason] },
        'a Secret is not usable; the last good bundle stays',
      );
      const message = `${reason}: ${problem}; the last good certificates stay in use`;
      this.#components.events?.record({ reason: 'SecretRefused', type: 'Warning', secret, message });
    }
    if (problems.length === 0 && known.size > 0) log.info({}, 'the Secrets are in order again');
    this.#stored = problems;
    metrics.lastReloadSuccessful.set(problems.length === 0 && this.#unreadable.size === 0 ? 1 : 0);
  }

  inUse(certificates: readonly CertificateInfo[], nodesOnOtherCa: number): void {
    const { metrics } = this.#components;
    metrics.nodesOnOtherCa.set(nodesOnOtherCa);
    metrics.lastReload.set(this.#lastReload.getTime() / 1000);
    publishValidity(metrics, certificates);
  }

  changed(next: CertificateBundle, previous: CertificateBundle): void {
    const { clock, log, metrics } = this.#components;
    this.#lastReload = new Date(clock.now());
    metrics.reloads.inc({ result: 'success', reason: 'changed' });
    log.info(
      {
        previous: previous.fingerprint,
        wanted: next.fingerprint,
        serial: next.server.serial,
        names: next.server.names,
        notAfter: next.notAfter.toISOString(),
        clientCAs: next.clientCAs.length,
      },
      'certificates changed',
    );
    this.#record(
      'CertificatesChanged',
      'Normal',
      `serving hub certificate ${next.server.serial} and accepting edges of ${next.clientCAs.length} CA(s)`,
    );
  }

  returned(serial: string, refused: string, problem: string): void {
    const { log, metrics } = this.#components;
    metrics.bundleReturns.inc();
    log.error({ serial, refused, problem }, 'the previous hub certificate is served again');
    this.#record(
      'CertificatesReturned',
      'Warning',
      `serving hub certificate ${serial} again instead of ${refused}: ${problem}`,
    );
  }

  notReturned(serial: string, problem: string): void {
    this.#components.log.error(
      { serial, problem },
      'the hub certificate cannot be taken back: the previous one is not usable',
    );
  }

  accepted(sha256: string): void {
    const fields = { audit: 'certificates-accepted', sha256 };
    this.#components.log.warn(fields, 'the stored hub certificate is to be kept');
  }

  kept(serial: string): void {
    this.#record(
      'CertificatesAccepted',
      'Normal',
      `hub certificate ${serial} is kept because an administrator wants it`,
    );
  }

  #record(reason: EventReason, type: 'Normal' | 'Warning', message: string): void {
    this.#components.events?.record({ reason, type, secret: this.#hubSecret, message });
  }
}
