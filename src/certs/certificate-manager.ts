import type { X509Certificate } from 'node:crypto';
import type { CertificateAdmin, CertificateStatus } from '../contracts/certificate-issuer.ts';
import type { CaCertificate, CertificateBundle, CertificateSource } from '../contracts/certificate-source.ts';
import type { Secret, SecretSnapshot } from '../contracts/secret-store.ts';
import type { Timer } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import type { Component } from '../core/lifecycle.ts';
import { LogSampler } from '../core/log.ts';
import { Property, type Unsubscribe } from '../core/property.ts';
import { readClientTrust } from './bundle/certificate-bundle.ts';
import type { CertificateComponents } from './bundle/certificate-components.ts';
import { CertificateReporter } from './bundle/certificate-reporter.ts';
import { describeBundle } from './bundle/certificate-status.ts';
import {
  type BundleInUse,
  type Evaluation,
  evaluateSnapshot,
  type StoredProblem,
} from './bundle/evaluate-snapshot.ts';
import { HubRenewal } from './bundle/hub-renewal.ts';
import { isManaged, renewalDueAt } from './bundle/hub-secret.ts';
import { type BundleCheck, SwapGuard } from './bundle/swap-guard.ts';
import type { CaParts } from './ca/ca-roles.ts';
import { type CertificateAuthority, toCaCertificate } from './ca/certificate-authority.ts';
import { isSameRollover, type RolloverState } from './ca/rollover-state.ts';
import type { CertificateOptions, PreparedCerts } from './prepare-all-certs.ts';
import { type AdvertisedNames, parseAdvertisedNames } from './x509/advertised-names.ts';

export interface ManagerComponents extends CertificateComponents {
  /** What `prepareAllCerts` returned: a manager that exists has a valid bundle. */
  readonly prepared: PreparedCerts;
  /**
   * How many connected nodes were issued by none of these CAs (SHA-256 of their DER). Asked at each check.
   */
  readonly nodesNotIssuedBy?: (caSha256s: ReadonlySet<string>) => number;
  /** Tries every bundle before the swap; without it a valid bundle is taken at once. */
  readonly preflight?: BundleCheck;
}

export interface ManagerOptions {
  readonly certificates: CertificateOptions & { readonly checkMs: number };
  /** `advertise.addresses` */
  readonly addresses: readonly string[];
  /** Changes that come together are looked at together; 50 ms by default. */
  readonly debounceMs?: number;
  /**
   * How long a hub Secret may be missing or unusable before it is issued anew: certificate and key may arrive
   * as two updates (B7), and a replacement by hand is a delete and a create. By default 10 s, but no longer
   * than the period of the check.
   */
  readonly settleMs?: number;
}

/**
 * Keeps the current bundle: follows the Secrets, renews the hub certificate, mends what vanished. The one
 * place where "current" changes. What is stored and cannot be used never replaces what is in use; it is
 * reported in `status().problem`, log and metrics.
 */
export class CertificateManager implements CertificateSource, CertificateAdmin, Component {
  readonly name = 'certificates';
  readonly #components: ManagerComponents;
  readonly #debounceMs: number;
  readonly #settleMs: number;
  readonly #bundle: Property<CertificateBundle>;
  readonly #sampler: LogSampler;
  readonly #renewal: HubRenewal;
  readonly #guard: SwapGuard;
  readonly #reporter: CertificateReporter;
  /** The hub Secret that was in use before the present one. */
  #previousHub: Secret | undefined;
  /** SHA-256 of the hub certificate that is stored, when it is valid. */
  #storedSha256: string | undefined;
  readonly #timers: { debounce?: Timer; check?: Timer } = {};
  #certificates: ManagerOptions['certificates'];
  #names: AdvertisedNames;
  #inUse: BundleInUse;
  /**
   * The CAs as stored: ahead of what is in use for the moment in which the hub certificate is issued anew.
   */
  #cas: CaParts;
  readonly #rollover: Property<RolloverState>;
  #ownCas: readonly CaCertificate[];
  #snapshot: SecretSnapshot;
  #storedCa: Evaluation['storedCa'] = { is: 'same' };
  /** Our last write: a snapshot read before it must not bring the old certificate back. */
  #written: { secret: Secret; replaced: string | undefined } | undefined;
  #unwatch: Unsubscribe | undefined;

  constructor(components: ManagerComponents, options: ManagerOptions) {
    const { clock, prepared } = components;
    this.#components = components;
    this.#certificates = options.certificates;
    this.#names = parseAdvertisedNames(options.addresses);
    this.#debounceMs = options.debounceMs ?? 50;
    this.#settleMs = options.settleMs ?? Math.min(10_000, options.certificates.checkMs);
    this.#sampler = new LogSampler({ clock });
    this.#guard = new SwapGuard(components.preflight);
    this.#snapshot = prepared.snapshot;
    this.#cas = prepared.cas;
    this.#rollover = new Property(prepared.cas.rollover);
    this.#ownCas = ownCas(prepared.cas);
    this.#inUse = {
      ...prepared.cas,
      hub: prepared.snapshot.get(options.certificates.hubSecret)!,
      trust: readClientTrust(prepared.snapshot.get(options.certificates.trustSecret)),
    };
    this.#bundle = new Property(prepared.bundle);
    this.#reporter = new CertificateReporter(components, options.certificates);
    this.#renewal = new HubRenewal(components, {
      caSecret: options.certificates.caSecret,
      rolloverSecret: options.certificates.rolloverSecret,
      wish: () => ({ ca: this.#cas.roles.issuing, names: this.#names, options: this.#certificates }),
      mayWrite: () => this.#isOurs() && this.#storedCa.is !== 'other',
      adopt: (secret, replaced) => this.#adopt(secret, replaced),
    });
    this.#publish();
  }

  current(): CertificateBundle {
    return this.#bundle.value;
  }

  onChange(listener: (next: CertificateBundle, previous: CertificateBundle) => void): Unsubscribe {
    return this.#bundle.onChange(listener);
  }

  /** The CA that new edge certificates come from; always the one of `current().ca` (requirement C3). */
  authority(): CertificateAuthority {
    return this.#inUse.roles.issuing;
  }

  /** The CA of the CA Secret, and the rollover from it to another. */
  get cas(): CaParts {
    return this.#cas;
  }

  /**
   * The CA that issues and, during a rollover, the other one: whoever one of them made an administrator stays
   * one.
   */
  ownCas(): readonly CaCertificate[] {
    return this.#ownCas;
  }

  /** The CAs of the trust Secret. */
  get furtherTrust(): readonly X509Certificate[] {
    return this.#inUse.trust;
  }

  /** False when somebody else, such as cert-manager, keeps the hub Secret. */
  get hubIsManaged(): boolean {
    return this.#isOurs();
  }

  /**
   * Issues the hub certificate anew if it needs to be; resolves when it is current. @throws as {@link
   * rotateHub}
   */
  async repairHub(): Promise<void> {
    if (this.#isOurs()) await this.#renewal.repair();
  }

  /** Told after each change of the rollover's state, receipts included. */
  onRollover(listener: (next: RolloverState, previous: RolloverState) => void): Unsubscribe {
    return this.#rollover.onChange(listener);
  }

  /**
   * Makes a state of the rollover current that was just written or read; resolves when what follows from it
   * is in use, as far as it can be.
   */
  async adoptRollover(secret: Secret): Promise<void> {
    this.#snapshot = new Map(this.#snapshot).set(this.#certificates.rolloverSecret, secret);
    await this.#evaluateAndTry();
  }

  /** False when the CA Secret is gone, unusable, or holds another CA than the one in use. */
  caMatchesStore(): boolean {
    return this.#storedCa.is === 'same';
  }

  /** Health check: throws when the CA in use is not the stored one. */
  checkCa(): undefined {
    if (!this.caMatchesStore())
      throw new SallyportError('CA_INVALID', {
        secret: this.#certificates.caSecret,
        problem: this.#reporter.caProblem ?? this.#storedCa.is,
      });
  }

  /** Health check: throws when what is served has expired; remarks why newer Secrets are not in use. */
  checkBundle(): string | undefined {
    const { ca, notAfter } = this.#bundle.value;
    const end = new Date(Math.min(ca.notAfter.getTime(), notAfter.getTime()));
    if (this.#components.clock.now() >= end.getTime())
      throw new SallyportError('BUNDLE_INVALID', {
        reason: 'expired',
        problem: `it expired at ${end.toISOString()}`,
      });
    return this.#problem();
  }

  async start(_signal: AbortSignal): Promise<void> {
    const { store, clock, log } = this.#components;
    const { caSecret, hubSecret, trustSecret, rolloverSecret } = this.#certificates;
    this.#unwatch = store.watch(
      [caSecret, hubSecret, trustSecret, rolloverSecret],
      (snapshot, unreadable) => this.#onSnapshot(snapshot, unreadable),
      (error) => {
        const suppressed = this.#sampler.pass('watch');
        if (suppressed !== undefined)
          log.warn({ err: error, suppressed }, 'the watch on the Secrets has trouble');
      },
    );
    this.#timers.check = clock.setInterval(() => this.#check(), this.#certificates.checkMs);
  }

  async stop(_signal: AbortSignal): Promise<void> {
    this.#unwatch?.();
    for (const timer of Object.values(this.#timers)) timer.cancel();
    await this.#renewal.stop();
    await this.#guard.settled();
  }

  /** @throws HUB_NOT_MANAGED, CA_INVALID when the stored CA is another one, and what the store throws */
  async rotateHub(): Promise<void> {
    if (!this.#isOurs())
      throw new SallyportError('HUB_NOT_MANAGED', { secret: this.#certificates.hubSecret });
    await this.#renewal.rotate();
  }

  /**
   * Takes over `advertise.addresses`, live. Resolves when the current bundle names them all (requirement B1);
   * the CA stays untouched.
   * @throws ADDRESS_INVALID (nothing changes then); BUNDLE_INVALID when somebody else keeps the certificate
   * and it lacks one; when the store cannot be reached its error, and the attempt is repeated until it
   * succeeds
   */
  async setAddresses(addresses: readonly string[]): Promise<void> {
    this.#names = parseAdvertisedNames(addresses);
    const { storedHub, problems } = await this.#evaluateAndTry();
    if (storedHub === 'good') return;
    if (!this.#isOurs()) throw unusable(storedHub, problems);
    await this.#renewal.repair();
  }

  /**
   * Goes back to the hub certificate that was in use before the present one, because the fleet cannot connect
   * to it. What is trusted stays as it is stored. The certificate taken back is not used again until another
   * one is stored, or {@link acceptStored}.
   * @returns false when there is none to go back to, it is no longer valid, or a person wanted the present
   * one
   */
  async returnToPrevious(problem: string): Promise<boolean> {
    const bad = this.#bundle.value;
    const hub = this.#inUse.hub;
    if (!this.#previousHub || this.#guard.isAccepted(bad.server.sha256)) return false;
    this.#guard.takeBack(bad, problem);
    this.#inUse = { ...this.#inUse, hub: this.#previousHub };
    await this.#evaluateAndTry();
    const { sha256, serial } = this.#bundle.value.server;
    if (sha256 === bad.server.sha256) {
      this.#inUse = { ...this.#inUse, hub };
      this.#guard.forgive(bad);
      this.#evaluate();
      this.#reporter.notReturned(serial, problem);
      return false;
    }
    this.#previousHub = undefined;
    this.#reporter.returned(serial, bad.server.serial, problem);
    return true;
  }

  async acceptStored(): Promise<void> {
    const sha256 = this.#storedSha256 ?? this.#bundle.value.server.sha256;
    this.#guard.accept(sha256);
    this.#reporter.accepted(sha256);
    const { storedHub, problems } = await this.#evaluateAndTry();
    if (storedHub !== 'good') throw unusable(storedHub, problems);
    this.#reporter.kept(this.#bundle.value.server.serial);
  }

  /** Takes over lifetimes and fractions, live; names of Secrets stay as they were at the start. */
  setLifetimes(
    lifetimes: Partial<Pick<CertificateOptions, 'hubDays' | 'renewFraction' | 'backdateMs'>>,
  ): void {
    this.#certificates = { ...this.#certificates, ...lifetimes };
    this.#check();
  }

  status(): CertificateStatus {
    const problem = this.#problem();
    return {
      certificates: this.#describe(),
      wantedFingerprint: this.#bundle.value.fingerprint,
      ...(this.#storedSha256 === undefined ? {} : { storedHubSha256: this.#storedSha256 }),
      lastReload: this.#reporter.lastReload.toISOString(),
      ...(problem === undefined ? {} : { problem }),
    };
  }

  // — from the store —

  #onSnapshot(snapshot: SecretSnapshot, unreadable: ReadonlyMap<string, string> = new Map()): void {
    this.#reporter.unreadable(unreadable);
    this.#snapshot = this.#withOwnWrite(snapshot);
    this.#timers.debounce ??= this.#components.clock.setTimeout(() => {
      delete this.#timers.debounce;
      this.#evaluate();
    }, this.#debounceMs);
  }

  #withOwnWrite(snapshot: SecretSnapshot): SecretSnapshot {
    const { hubSecret } = this.#certificates;
    if (!this.#written || snapshot.get(hubSecret)?.version !== this.#written.replaced) {
      this.#written = undefined;
      return snapshot;
    }
    return new Map(snapshot).set(hubSecret, this.#written.secret);
  }

  #check(): void {
    this.#written = undefined;
    const { storedHub } = this.#evaluate();
    if (storedHub === 'preflight') void this.#guard.tryRefusedAgain().then(() => this.#evaluate());
    // The stored certificate is new already, and waits.
    if (storedHub === 'preflight' || storedHub === 'returned') return;
    const dueAt = renewalDueAt(this.#bundle.value.server, this.#bundle.value.ca, this.#certificates);
    if (this.#components.clock.now() >= dueAt) this.#renewal.planWithin(0);
  }

  // — the decision —

  #evaluate(): Evaluation {
    const evaluation = evaluateSnapshot({
      snapshot: this.#snapshot,
      inUse: { ...this.#inUse, ...this.#cas },
      secrets: this.#certificates,
      names: this.#names,
      clock: this.#components.clock,
      refusal: (bundle) => this.#guard.refusal(bundle),
    });
    const { bundle, parts, problems, storedCa, storedHub, storedSha256, cas, hubBehind } = evaluation;
    this.#storedCa = storedCa;
    this.#storedSha256 = storedSha256;
    this.#cas = cas;
    if (bundle) this.#take(bundle, parts);
    if (storedHub === 'good' && !hubBehind) this.#renewal.problem = undefined;
    else if (storedHub !== 'preflight' && storedHub !== 'returned')
      this.#renewal.planWithin(this.#isExpected(storedHub) ? 0 : this.#settleMs);
    this.#reporter.stored(problems, { 'ca-changed': { nodesOnOtherCa: this.#publish() } });
    if (!isSameRollover(cas.rollover, this.#rollover.value)) this.#rollover.set(cas.rollover);
    return evaluation;
  }

  /**
   * What the hub certificate lacks is known to be nobody's half-done work: a new name, or a step of the
   * rollover.
   */
  #isExpected(storedHub: Evaluation['storedHub']): boolean {
    if (storedHub === 'good' || storedHub === 'names') return true;
    return storedHub === 'wrong-ca' && this.#cas.rollover.phase !== 'idle';
  }

  /** At once, or after it was tried. */
  #take(bundle: CertificateBundle, parts: BundleInUse): void {
    const present = this.#bundle.value;
    if (bundle.fingerprint !== present.fingerprint && !this.#guard.hasPassed(bundle)) {
      void this.#guard.try(bundle, authoritiesOf(parts)).then(() => this.#evaluate());
      return;
    }
    const { hub } = this.#inUse;
    this.#inUse = parts;
    this.#ownCas = ownCas(parts, this.#ownCas);
    if (bundle.fingerprint === present.fingerprint) return;
    if (bundle.server.sha256 !== present.server.sha256) this.#previousHub = hub;
    this.#guard.keepOnly([bundle.server.sha256, this.#storedSha256]);
    this.#swap(bundle);
  }

  /** With the outcome of the trials it takes. */
  async #evaluateAndTry(): Promise<Evaluation> {
    this.#evaluate();
    await this.#guard.settled();
    return this.#evaluate();
  }

  #swap(next: CertificateBundle): void {
    this.#reporter.changed(next, this.#bundle.value);
    try {
      this.#bundle.set(next);
    } catch (error) {
      this.#components.log.error({ err: error }, 'a follower of the certificates failed');
    }
  }

  /** @returns connected nodes that no wanted CA issued */
  #publish(): number {
    const wanted = new Set(this.#bundle.value.clientCAs.map(({ sha256 }) => sha256));
    if (this.#storedCa.is === 'other') {
      wanted.delete(this.#inUse.own.certificate.sha256);
      wanted.add(this.#storedCa.sha256);
    }
    const nodes = this.#components.nodesNotIssuedBy?.(wanted) ?? 0;
    this.#reporter.inUse(this.#describe(), nodes);
    return nodes;
  }

  /** Makes a hub Secret current that was just read or written. */
  async #adopt(secret: Secret, replaced: string | undefined): Promise<void> {
    this.#written = { secret, replaced };
    this.#snapshot = new Map(this.#snapshot).set(this.#certificates.hubSecret, secret);
    const { storedHub, problems } = await this.#evaluateAndTry();
    if (storedHub !== 'good') throw unusable(storedHub, problems);
  }

  // — small things —

  #problem(): string | undefined {
    const { problems } = this.#reporter;
    if (this.#renewal.problem !== undefined) problems.push(this.#renewal.problem);
    return problems.length === 0 ? undefined : problems.join('; ');
  }

  #describe() {
    return describeBundle(this.#bundle.value, {
      secrets: this.#certificates,
      hubManaged: this.#isOurs(),
      own: this.#inUse.own.certificate.sha256,
      rollover: new Set([this.#inUse.rollover.pair?.next.certificate.sha256 ?? '']),
    });
  }

  /**
   * Neither the stored Secret nor the last good one is somebody else's: cert-manager may just be about to
   * write its own again.
   */
  #isOurs(): boolean {
    const stored = this.#snapshot.get(this.#certificates.hubSecret);
    return [stored, this.#inUse.hub].every((secret) => isManaged(secret, this.#certificates));
  }
}

/** The trusted CAs whose keys are here. */
function authoritiesOf({ own, roles, rollover: { pair } }: CaParts): CertificateAuthority[] {
  const { issuing, partner } = roles;
  const other = [own, ...(pair ? [pair.next] : [])].find(
    ({ x509 }) => partner !== undefined && x509.fingerprint256 === partner.fingerprint256,
  );
  return other ? [issuing, other] : [issuing];
}

/** The gate parses its CAs anew for every new array, so an equal one stays the same. */
function ownCas({ roles }: CaParts, present: readonly CaCertificate[] = []): readonly CaCertificate[] {
  const { issuing, partner } = roles;
  const next = [issuing.certificate, ...(partner ? [toCaCertificate(partner)] : [])];
  const isSame =
    next.length === present.length && next.every(({ sha256 }, i) => sha256 === present[i]!.sha256);
  return isSame ? present : next;
}

function unusable(reason: string, problems: readonly StoredProblem[]): SallyportError {
  return new SallyportError('BUNDLE_INVALID', { reason, problem: problems.at(-1)?.problem ?? reason });
}
