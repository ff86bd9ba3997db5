import { createHash } from 'node:crypto';
import type { CertificateAuthority } from '../certs/ca/certificate-authority.ts';
import type { CertificateBundle, CertificateSource } from '../contracts/certificate-source.ts';
import type { Listener } from '../contracts/listener.ts';
import type { ServedCertificate, ServedCertificates } from '../contracts/served-certificates.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { describeError } from '../core/errors.ts';
import { farewell } from '../core/farewell.ts';
import type { Component } from '../core/lifecycle.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Unsubscribe } from '../core/property.ts';
import { LISTENERS, type ListenerName } from '../protocol/listener-names.ts';
import { edgeName, edgeTrust, nearAddress, type ProbeClients } from './probe-clients.ts';
import { REPORT_EVERY_MS, type ReplicaReports } from './replica-reports.ts';

export interface ServedCheckComponents {
  readonly source: CertificateSource;
  /** For QUIC, where a client without certificate would be a refusal. */
  readonly authority: () => CertificateAuthority;
  readonly clients: ProbeClients;
  readonly reports: ReplicaReports;
  readonly listeners: () => readonly Listener[];
  /** Tells of each bundle after the listeners were given it. */
  readonly onApplied: (listener: () => void) => Unsubscribe;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'servedCertificateWanted' | 'servedCertificateNotAfter' | 'servedChecks'>;
}

export interface ServedCheckOptions {
  readonly replica: string;
  /** `advertise.addresses` */
  readonly addresses: readonly string[];
  readonly checkMs: number;
  readonly timeoutMs: number;
}

/** Bundles whose certificate is remembered: a QUIC listener may still serve an older one. */
const MAX_BUNDLES = 8;

/**
 * Finds out by handshakes what each listener really serves, again and again, and tells the other replicas.
 */
export class ServedCheck implements ServedCertificates, Component {
  readonly name = 'served-check';
  readonly #components: ServedCheckComponents;
  readonly #options: () => ServedCheckOptions;
  readonly #sampler: LogSampler;
  readonly #found = new Map<ListenerName, ServedCertificate>();
  /** Fingerprint → bundle, latest last. */
  readonly #bundles = new Map<string, CertificateBundle>();
  #others: readonly ServedCertificate[] = [];
  #told = '';
  #toldAt = Number.NEGATIVE_INFINITY;
  #checking: Promise<void> | undefined;
  #again = false;
  #timer: Timer | undefined;
  #unsubscribe: Unsubscribe = () => {};
  #stopped = false;

  constructor(components: ServedCheckComponents, options: () => ServedCheckOptions) {
    this.#components = components;
    this.#options = options;
    this.#sampler = new LogSampler({ clock: components.clock });
  }

  async start(): Promise<void> {
    const { clock, onApplied } = this.#components;
    this.#unsubscribe = onApplied(() => void this.check());
    this.#timer = clock.setInterval(() => void this.check(), this.#options().checkMs);
    await this.check();
  }

  async stop(signal?: AbortSignal): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe();
    this.#timer?.cancel();
    const { clock, log, reports } = this.#components;
    const lastWrite = Promise.resolve(this.#checking)
      .then(() => reports.withdraw())
      .catch((error) => log.debug({ problem: describeError(error) }, 'no farewell was stored'));
    await farewell(clock, lastWrite, signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** Reads anew what the others tell. */
  async list(): Promise<readonly ServedCertificate[]> {
    await this.#checking;
    this.#others = await this.#components.reports.others().catch(() => this.#others);
    return [...this.#found.values(), ...this.#others].sort(
      (a, b) => a.replica.localeCompare(b.replica) || a.listener.localeCompare(b.listener),
    );
  }

  /** One round at a time; what is asked for meanwhile follows it. Never rejects. */
  check(): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    if (this.#checking) {
      this.#again = true;
      return this.#checking;
    }
    this.#checking = this.#round().finally(() => {
      this.#checking = undefined;
      if (!this.#again) return;
      this.#again = false;
      void this.check();
    });
    return this.#checking;
  }

  async #round(): Promise<void> {
    const { listeners, source, log } = this.#components;
    const wanted = source.current();
    this.#bundles.delete(wanted.fingerprint);
    this.#bundles.set(wanted.fingerprint, wanted);
    for (const oldest of [...this.#bundles.keys()].slice(0, -MAX_BUNDLES)) this.#bundles.delete(oldest);
    for (const listener of listeners()) {
      const before = this.#found.get(listener.name)?.problem;
      const found = await this.#look(listener, wanted);
      // A swap came between: another round follows.
      if (source.current() !== wanted || this.#stopped) return;
      this.#found.set(listener.name, found);
      this.#measure(found);
      const { problem, servedSha256 } = found;
      if (problem !== undefined && problem !== before)
        log.error(
          { listener: listener.name, problem, served: servedSha256, wanted: wanted.server.sha256 },
          'a listener does not serve what it should',
        );
      else if (problem === undefined && before !== undefined)
        log.info({ listener: listener.name }, 'a listener serves the wanted certificate again');
    }
    await this.#tell();
  }

  async #look(listener: Listener, wanted: CertificateBundle): Promise<ServedCertificate> {
    const { clock } = this.#components;
    const { replica } = this.#options();
    const base = { replica, listener: listener.name, wantedSha256: wanted.server.sha256 };
    const checkedAt = () => new Date(clock.now()).toISOString();
    try {
      const { served, problem } = await this.#shakeHands(listener, wanted);
      const problems = served.sha256 === base.wantedSha256 ? [] : ['another certificate than the wanted one'];
      if (problem !== undefined) problems.push(problem);
      return {
        ...base,
        servedSha256: served.sha256,
        notAfter: served.notAfter.toISOString(),
        checkedAt: checkedAt(),
        ...(problems.length > 0 ? { problem: problems.join('; ') } : {}),
      };
    } catch (error) {
      return { ...base, checkedAt: checkedAt(), problem: `no handshake: ${describeError(error)}` };
    }
  }

  async #shakeHands(
    listener: Listener,
    wanted: CertificateBundle,
  ): Promise<{ served: { sha256: string; notAfter: Date }; problem?: string }> {
    const { authority, clients } = this.#components;
    const { addresses, timeoutMs } = this.#options();
    const isHidden = LISTENERS[listener.name].tls === 'quic-library';
    // What the library of QUIC does not show is known from the bundle its generation was built of.
    const shown = isHidden ? this.#bundles.get(listener.servedFingerprint()) : undefined;
    const bundle = shown ?? wanted;
    const request = {
      ...nearAddress(listener.address()),
      name: edgeName(bundle, addresses),
      timeoutMs,
      ...(isHidden ? { client: await clients.of(authority()) } : {}),
    };
    let first: { served: { sha256: string; notAfter: Date }; problem?: string } | undefined;
    let failure: unknown;
    for (const ca of edgeTrust(bundle)) {
      try {
        const { served, problem } = await listener.handshake({ ...request, ca });
        const seen = served
          ? { sha256: createHash('sha256').update(served.raw).digest('hex'), notAfter: served.validToDate }
          : bundle.server;
        const result = { served: seen, ...(problem === undefined ? {} : { problem }) };
        if (problem === undefined) return result;
        first ??= result;
      } catch (error) {
        failure ??= error;
      }
    }
    if (first) return first;
    throw failure;
  }

  #measure({ listener, notAfter, problem, servedSha256, wantedSha256 }: ServedCertificate): void {
    const { servedCertificateWanted, servedCertificateNotAfter, servedChecks } = this.#components.metrics;
    servedCertificateWanted.set({ listener }, servedSha256 === wantedSha256 ? 1 : 0);
    if (notAfter === undefined) servedCertificateNotAfter.remove({ listener });
    else servedCertificateNotAfter.set({ listener }, Date.parse(notAfter) / 1000);
    servedChecks.inc({ listener, result: problem === undefined ? 'success' : 'failure' });
  }

  /** Only what is new, and from time to time that it is still so, if somebody is there to read it. */
  async #tell(): Promise<void> {
    const { clock, log, reports } = this.#components;
    const items = [...this.#found.values()];
    const now = clock.monotonic();
    const content = JSON.stringify(items.map(({ checkedAt: _, ...rest }) => rest));
    const isDue = now - this.#toldAt >= REPORT_EVERY_MS;
    if (content === this.#told && !isDue) return;
    try {
      const isNews = content !== this.#told;
      if (isNews || reports.hasOthers) this.#others = await reports.publish(items);
      else this.#others = await reports.others();
      this.#told = content;
      this.#toldAt = now;
    } catch (error) {
      const suppressed = this.#sampler.pass('tell');
      if (suppressed !== undefined)
        log.warn(
          { problem: describeError(error), suppressed },
          'what is served cannot be told to other replicas',
        );
    }
  }
}
