import type { CertificateAdmin, CertificateStatus } from '../contracts/certificate-issuer.ts';
import type { CertificateBundle } from '../contracts/certificate-source.ts';
import type { Secret, SecretSnapshot } from '../contracts/secret-store.ts';
import type { Timer } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import type { Component } from '../core/lifecycle.ts';
import type { CertificateComponents } from './bundle/certificate-components.ts';
import { CertificateReporter } from './bundle/certificate-reporter.ts';
import {
  type BundleInUse,
  type Evaluation,
  evaluateSnapshot,
  type StoredProblem,
} from './bundle/evaluate-snapshot.ts';
import { FollowedSecrets } from './bundle/followed-secrets.ts';
import { HubRenewal } from './bundle/hub-renewal.ts';
import { isManaged, renewalDueAt } from './bundle/hub-secret.ts';
import { type BundleCheck, SwapGuard } from './bundle/swap-guard.ts';
import { authoritiesOf } from './ca/ca-roles.ts';
import type { CurrentCertificates } from './current-certificates.ts';
import type { CertificateOptions } from './prepare-all-certs.ts';
import { type AdvertisedNames, parseAdvertisedNames } from './x509/advertised-names.ts';

export interface ManagerComponents extends CertificateComponents {
  /** Nobody else writes it. */
  readonly current: CurrentCertificates;
  /** The Secrets that it was made from. */
  readonly snapshot: SecretSnapshot;
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
  /**
   * How long a hub Secret may be missing or unusable before it is issued anew: certificate and key may arrive
   * as two updates (B7), and a replacement by hand is a delete and a create. By default 10 s, but no longer
   * than the period of the check.
   */
  readonly settleMs?: number;
}

/**
 * Keeps {@link CurrentCertificates} current: follows the Secrets, renews the hub certificate, mends what
 * vanished. The one place where "current" changes. What is stored and cannot be used never replaces what is
 * in use; it is reported in `status().problem`, log and metrics.
 */
export class CertificateManager implements CertificateAdmin, Component {
  readonly name = 'certificates';
  readonly #components: ManagerComponents;
  readonly #settleMs: number;
  readonly #current: CurrentCertificates;
  readonly #secrets: FollowedSecrets;
  readonly #renewal: HubRenewal;
  readonly #guard: SwapGuard;
  readonly #reporter: CertificateReporter;
  /** The hub Secret that was in use before the present one. */
  #previousHub: Secret | undefined;
  /** SHA-256 of the hub certificate that is stored, when it is valid. */
  #storedSha256: string | undefined;
  #checkTimer: Timer | undefined;
  #certificates: ManagerOptions['certificates'];
  #names: AdvertisedNames;
  /** The hub Secret in use. */
  #hub: Secret;
  #storedCa: Evaluation['storedCa'] = { is: 'same' };

  constructor(components: ManagerComponents, options: ManagerOptions) {
    const { current, snapshot } = components;
    const { caSecret, hubSecret, trustSecret, rolloverSecret } = options.certificates;
    this.#components = components;
    this.#certificates = options.certificates;
    this.#names = parseAdvertisedNames(options.addresses);
    this.#settleMs = options.settleMs ?? Math.min(10_000, options.certificates.checkMs);
    this.#current = current;
    this.#hub = snapshot.get(hubSecret)!;
    this.#guard = new SwapGuard(components.preflight);
    this.#reporter = new CertificateReporter(components, options.certificates);
    this.#secrets = new FollowedSecrets(components, snapshot, {
      names: [caSecret, hubSecret, trustSecret, rolloverSecret],
      hubSecret,
      onUnreadable: (unreadable) => this.#reporter.unreadable(unreadable),
      onChange: () => this.#evaluate(),
    });
    this.#renewal = new HubRenewal(components, {
      caSecret,
      rolloverSecret,
      wish: () => ({ ca: current.cas.roles.issuing, names: this.#names, options: this.#certificates }),
      mayWrite: () => this.#isOurs() && this.#storedCa.is !== 'other',
      adopt: (secret, replaced) => this.#adopt(secret, replaced),
    });
    this.#publish();
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

  /**
   * Makes a state of the rollover current that was just written or read; resolves when what follows from it
   * is in use, as far as it can be.
   */
  async adoptRollover(secret: Secret): Promise<void> {
    this.#secrets.put(secret);
    await this.#evaluateAndTry();
  }

  /** False when the CA Secret is gone, unusable, or holds another CA than the one in use. */
  caMatchesStore(): boolean {
    return this.#storedCa.is === 'same';
  }

  /** Health check: throws when the CA in use is not the stored one. */
  checkCa(): undefined {
    if (!this.caMatchesStore()) throw this.#reporter.caUnusable(this.#storedCa.is);
  }

  /** Health check: throws when what is served has expired; remarks why newer Secrets are not in use. */
  checkBundle(): string | undefined {
    this.#reporter.checkExpiry();
    return this.status().problem;
  }

  async start(_signal: AbortSignal): Promise<void> {
    const { clock } = this.#components;
    this.#secrets.start();
    this.#checkTimer = clock.setInterval(() => this.#check(), this.#certificates.checkMs);
  }

  async stop(_signal: AbortSignal): Promise<void> {
    this.#secrets.stop();
    this.#checkTimer?.cancel();
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
    const bad = this.#current.current();
    const hub = this.#hub;
    if (!this.#previousHub || this.#guard.isAccepted(bad.server.sha256)) return false;
    this.#guard.takeBack(bad, problem);
    this.#hub = this.#previousHub;
    await this.#evaluateAndTry();
    const { sha256, serial } = this.#current.current().server;
    if (sha256 === bad.server.sha256) {
      this.#hub = hub;
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
    const sha256 = this.#storedSha256 ?? this.#current.current().server.sha256;
    this.#guard.accept(sha256);
    this.#reporter.accepted(sha256);
    const { storedHub, problems } = await this.#evaluateAndTry();
    if (storedHub !== 'good') throw unusable(storedHub, problems);
    this.#reporter.kept(this.#current.current().server.serial);
  }

  /** Takes over lifetimes and fractions, live; names of Secrets stay as they were at the start. */
  setLifetimes(
    lifetimes: Partial<Pick<CertificateOptions, 'hubDays' | 'renewFraction' | 'backdateMs'>>,
  ): void {
    this.#certificates = { ...this.#certificates, ...lifetimes };
    this.#check();
  }

  status(): CertificateStatus {
    return this.#reporter.status({
      hubManaged: this.#isOurs(),
      storedHubSha256: this.#storedSha256,
      renewalProblem: this.#renewal.problem,
    });
  }

  #check(): void {
    this.#secrets.trustWatch();
    const { storedHub } = this.#evaluate();
    if (storedHub === 'preflight') void this.#guard.tryRefusedAgain().then(() => this.#evaluate());
    // The stored certificate is new already, and waits.
    if (storedHub === 'preflight' || storedHub === 'returned') return;
    const { server, ca } = this.#current.current();
    const dueAt = renewalDueAt(server, ca, this.#certificates);
    if (this.#components.clock.now() >= dueAt) this.#renewal.planWithin(0);
  }

  // — the decision —

  #evaluate(): Evaluation {
    const evaluation = evaluateSnapshot({
      snapshot: this.#secrets.snapshot,
      inUse: { ...this.#current.cas, hub: this.#hub, trust: this.#current.furtherTrust },
      secrets: this.#certificates,
      names: this.#names,
      clock: this.#components.clock,
      refusal: (bundle) => this.#guard.refusal(bundle),
    });
    const { bundle, parts, problems, storedCa, storedHub, storedSha256, cas, hubBehind } = evaluation;
    this.#storedCa = storedCa;
    this.#storedSha256 = storedSha256;
    this.#current.stored(cas);
    if (bundle) this.#take(bundle, parts);
    if (storedHub === 'good' && !hubBehind) this.#renewal.problem = undefined;
    else if (storedHub !== 'preflight' && storedHub !== 'returned')
      this.#renewal.planWithin(this.#isExpected(storedHub) ? 0 : this.#settleMs);
    this.#reporter.stored(problems, { 'ca-changed': { nodesOnOtherCa: this.#publish() } });
    this.#current.tellRollover();
    return evaluation;
  }

  /**
   * What the hub certificate lacks is known to be nobody's half-done work: a new name, or a step of the
   * rollover.
   */
  #isExpected(storedHub: Evaluation['storedHub']): boolean {
    if (storedHub === 'good' || storedHub === 'names') return true;
    return storedHub === 'wrong-ca' && this.#current.cas.rollover.phase !== 'idle';
  }

  /** At once, or after it was tried. */
  #take(bundle: CertificateBundle, parts: BundleInUse): void {
    const present = this.#current.current();
    if (bundle.fingerprint !== present.fingerprint && !this.#guard.hasPassed(bundle)) {
      void this.#guard.try(bundle, authoritiesOf(parts)).then(() => this.#evaluate());
      return;
    }
    if (bundle.server.sha256 !== present.server.sha256) this.#previousHub = this.#hub;
    this.#hub = parts.hub;
    if (bundle.fingerprint !== present.fingerprint) {
      this.#guard.keepOnly([bundle.server.sha256, this.#storedSha256]);
      this.#reporter.changed(bundle, present);
    }
    try {
      this.#current.use({ bundle, ...parts });
    } catch (error) {
      this.#components.log.error({ err: error }, 'a follower of the certificates failed');
    }
  }

  /** With the outcome of the trials it takes. */
  async #evaluateAndTry(): Promise<Evaluation> {
    this.#evaluate();
    await this.#guard.settled();
    return this.#evaluate();
  }

  /** @returns connected nodes that no wanted CA issued */
  #publish(): number {
    const wanted = new Set(this.#current.current().clientCAs.map(({ sha256 }) => sha256));
    if (this.#storedCa.is === 'other') {
      wanted.delete(this.#current.casInUse.own.certificate.sha256);
      wanted.add(this.#storedCa.sha256);
    }
    const nodes = this.#components.nodesNotIssuedBy?.(wanted) ?? 0;
    this.#reporter.inUse({ hubManaged: this.#isOurs(), nodesOnOtherCa: nodes });
    return nodes;
  }

  /** Makes a hub Secret current that was just read or written. */
  async #adopt(secret: Secret, replaced: string | undefined): Promise<void> {
    this.#secrets.putHub(secret, replaced);
    const { storedHub, problems } = await this.#evaluateAndTry();
    if (storedHub !== 'good') throw unusable(storedHub, problems);
  }

  // — small things —

  /**
   * Neither the stored Secret nor the last good one is somebody else's: cert-manager may just be about to
   * write its own again.
   */
  #isOurs(): boolean {
    const stored = this.#secrets.snapshot.get(this.#certificates.hubSecret);
    return [stored, this.#hub].every((secret) => isManaged(secret, this.#certificates));
  }
}

function unusable(reason: string, problems: readonly StoredProblem[]): SallyportError {
  return new SallyportError('BUNDLE_INVALID', { reason, problem: problems.at(-1)?.problem ?? reason });
}
