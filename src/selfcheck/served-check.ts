import { createHash } from 'node:crypto';
import type { CertificateAuthority } from '../certs/ca/certificate-authority.ts';
import type { CertificateBundle, CertificateSource } from '../contracts/certificate-source.ts';
import type { Listener } from '../contracts/listener.ts';
import type { ReplicaBoard } from '../contracts/replica-board.ts';
import type { ServedCertificate, ServedCertificates } from '../contracts/served-certificates.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { coalesced } from '../core/coalesced.ts';
import { describeError } from '../core/errors.ts';
import type { Component } from '../core/lifecycle.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Unsubscribe } from '../core/property.ts';
import { LISTENERS, type ListenerName } from '../protocol/listener-names.ts';
import { edgeName, edgeTrust, nearAddress, type ProbeClients } from './probe-clients.ts';

export interface ServedCheckComponents {
  readonly source: CertificateSource;
  /** For QUIC, where a client without certificate would be a refusal. */
  readonly authority: () => CertificateAuthority;
  readonly clients: ProbeClients;
  readonly board: Pick<ReplicaBoard, 'note' | 'read' | 'servedByOthers' | 'tell'>;
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
  readonly #found = new Map<ListenerName, ServedCertificate>();
  /** Fingerprint → bundle, latest last. */
  readonly #bundles = new Map<string, CertificateBundle>();
  readonly #check = coalesced(() => this.#round());
  /** The latest round. */
  #checked = Promise.resolve();
  #told = '';
  #timer: Timer | undefined;
  #unsubscribe: Unsubscribe = () => {};
  #stopped = false;

  constructor(components: ServedCheckComponents, options: () => ServedCheckOptions) {
    this.#components = components;
    this.#options = options;
  }

  async start(): Promise<void> {
    const { clock, onApplied } = this.#components;
    this.#unsubscribe = onApplied(() => void this.check());
    this.#timer = clock.setInterval(() => void this.check(), this.#options().checkMs);
    await this.check();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe();
    this.#timer?.cancel();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** Hears anew of the others. */
  async list(): Promise<readonly ServedCertificate[]> {
    const { board } = this.#components;
    await Promise.all([this.#checked, board.read().catch(() => {})]);
    return [...this.#found.values(), ...board.servedByOthers()].sort(
      (a, b) => a.replica.localeCompare(b.replica) || a.listener.localeCompare(b.listener),
    );
  }

  /** One round at a time; what is asked for meanwhile follows it. Never rejects. */
  check(): Promise<void> {
    this.#checked = this.#check();
    return this.#checked;
  }

  async #round(): Promise<void> {
    if (this.#stopped) return;
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

  /** At once what is new; when it was looked at with the next sign of life. */
  async #tell(): Promise<void> {
    const { board } = this.#components;
    const served = [...this.#found.values()];
    const content = JSON.stringify(served.map(({ checkedAt: _, ...rest }) => rest));
    const isNews = content !== this.#told;
    this.#told = content;
    if (isNews) await board.tell({ served });
    else board.note({ served });
  }
}
