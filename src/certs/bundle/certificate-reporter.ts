import type { CertificateInfo, CertificateStatus } from '../../contracts/certificate-issuer.ts';
import type { CertificateBundle, CertificateSource } from '../../contracts/certificate-source.ts';
import type { EventReason } from '../../contracts/event-recorder.ts';
import { SallyportError } from '../../core/errors.ts';
import type { LogFields } from '../../core/log.ts';
import type { CaParts } from '../ca/ca-roles.ts';
import type { CertificateComponents } from './certificate-components.ts';
import { describeBundle, publishValidity } from './certificate-status.ts';
import type { StoredProblem } from './evaluate-snapshot.ts';

export interface ReporterComponents extends Omit<CertificateComponents, 'store'> {
  /** `CurrentCertificates`, which stands a floor above. */
  readonly current: CertificateSource & { readonly casInUse: CaParts };
}

export interface ReporterOptions {
  /** Names of Secrets. */
  readonly caSecret: string;
  readonly hubSecret: string;
  readonly trustSecret: string;
  readonly rolloverSecret: string;
}

/** What log, metrics and Events say about the certificates; each problem once, when it appears. */
export class CertificateReporter {
  readonly #components: ReporterComponents;
  readonly #secrets: ReporterOptions;
  #stored: readonly StoredProblem[] = [];
  #unreadable: ReadonlyMap<string, string> = new Map();
  #lastReload: Date;

  constructor(components: ReporterComponents, secrets: ReporterOptions) {
    this.#components = components;
    this.#secrets = secrets;
    this.#lastReload = new Date(components.clock.now());
    components.metrics.lastReloadSuccessful.set(1);
  }

  /** @param renewalProblem why the hub certificate could not be issued anew */
  status(facts: {
    readonly hubManaged: boolean;
    readonly storedHubSha256: string | undefined;
    readonly renewalProblem: string | undefined;
  }): CertificateStatus {
    const { storedHubSha256, renewalProblem } = facts;
    const problems = this.#stored.map(({ secret, problem }) => `secret ${secret}: ${problem}`);
    problems.push(...this.#unreadable.values());
    if (renewalProblem !== undefined) problems.push(renewalProblem);
    return {
      certificates: this.#describe(facts),
      wantedFingerprint: this.#components.current.current().fingerprint,
      ...(storedHubSha256 === undefined ? {} : { storedHubSha256 }),
      lastReload: this.#lastReload.toISOString(),
      ...(problems.length === 0 ? {} : { problem: problems.join('; ') }),
    };
  }

  /** @throws BUNDLE_INVALID when what is in use has expired */
  checkExpiry(): void {
    const { ca, notAfter } = this.#components.current.current();
    const end = new Date(Math.min(ca.notAfter.getTime(), notAfter.getTime()));
    if (this.#components.clock.now() < end.getTime()) return;
    const problem = `it expired at ${end.toISOString()}`;
    throw new SallyportError('BUNDLE_INVALID', { reason: 'expired', problem });
  }

  /** @param otherwise the problem, where no more is known about it */
  caUnusable(otherwise: string): SallyportError {
    const known = this.#stored.find(({ reason }) => reason.startsWith('ca-'));
    const problem = known?.problem ?? otherwise;
    return new SallyportError('CA_INVALID', { secret: this.#secrets.caSecret, problem });
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

  inUse(facts: { readonly hubManaged: boolean; readonly nodesOnOtherCa: number }): void {
    const { metrics } = this.#components;
    metrics.nodesOnOtherCa.set(facts.nodesOnOtherCa);
    metrics.lastReload.set(this.#lastReload.getTime() / 1000);
    publishValidity(metrics, this.#describe(facts));
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

  #describe({ hubManaged }: { readonly hubManaged: boolean }): readonly CertificateInfo[] {
    const { current } = this.#components;
    const { own, rollover } = current.casInUse;
    return describeBundle(current.current(), {
      secrets: this.#secrets,
      hubManaged,
      own: own.certificate.sha256,
      rollover: new Set([rollover.pair?.next.certificate.sha256 ?? '']),
    });
  }

  #record(reason: EventReason, type: 'Normal' | 'Warning', message: string): void {
    this.#components.events?.record({ reason, type, secret: this.#secrets.hubSecret, message });
  }
}
