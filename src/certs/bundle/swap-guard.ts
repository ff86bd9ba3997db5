import type { CertificateBundle } from '../../contracts/certificate-source.ts';
import { describeError } from '../../core/errors.ts';
import type { CertificateAuthority } from '../ca/certificate-authority.ts';

/** Tries a bundle before anybody gets it. @throws when it must not be served */
export type BundleCheck = (
  bundle: CertificateBundle,
  authorities: readonly CertificateAuthority[],
) => Promise<void>;

/** Why a valid bundle is not taken: it could not be served, or the fleet could not connect to it. */
export interface BundleRefusal {
  readonly reason: 'preflight' | 'returned';
  readonly problem: string;
}

interface Trial {
  readonly bundle: CertificateBundle;
  readonly authorities: readonly CertificateAuthority[];
  /** Undefined when it passed. */
  readonly refusal: BundleRefusal | undefined;
}

/** Outcomes that are remembered: the stored bundle, the one it would replace, and a few of before. */
const MAX_TRIALS = 8;

/** Which valid bundles may become current. Without a check all may, at once. */
export class SwapGuard {
  readonly #check: BundleCheck | undefined;
  /** Fingerprint → outcome, latest last. */
  readonly #tried = new Map<string, Trial>();
  readonly #underWay = new Map<string, Promise<void>>();
  /**
   * SHA-256 of hub certificate → why its bundle was taken back. Whatever else changes, the certificate stays
   * out.
   */
  readonly #returned = new Map<string, BundleRefusal>();
  readonly #accepted = new Set<string>();

  constructor(check: BundleCheck | undefined) {
    this.#check = check;
  }

  /** Undefined when nothing speaks against it yet. */
  refusal({ fingerprint, server }: CertificateBundle): BundleRefusal | undefined {
    return this.#returned.get(server.sha256) ?? this.#tried.get(fingerprint)?.refusal;
  }

  hasPassed({ fingerprint }: CertificateBundle): boolean {
    if (this.#check === undefined) return true;
    const trial = this.#tried.get(fingerprint);
    return trial !== undefined && trial.refusal === undefined;
  }

  /**
   * Resolves when the outcome is known; asked again meanwhile for the same bundle, it is one trial. Never
   * rejects.
   */
  try(bundle: CertificateBundle, authorities: readonly CertificateAuthority[]): Promise<void> {
    const { fingerprint } = bundle;
    const underWay = this.#underWay.get(fingerprint);
    if (underWay) return underWay;
    const trial = this.#try(bundle, authorities).then((refusal) => {
      this.#underWay.delete(fingerprint);
      this.#tried.delete(fingerprint);
      this.#tried.set(fingerprint, { bundle, authorities, refusal });
      for (const oldest of [...this.#tried.keys()].slice(0, -MAX_TRIALS)) this.#tried.delete(oldest);
    });
    this.#underWay.set(fingerprint, trial);
    return trial;
  }

  /**
   * What failed may pass later: a port is free again, a machine has memory again. Until it does the refusal
   * stands.
   */
  async tryRefusedAgain(): Promise<void> {
    const refused = [...this.#tried.values()].filter(({ refusal }) => refusal !== undefined);
    await Promise.all(refused.map(({ bundle, authorities }) => this.try(bundle, authorities)));
  }

  async #try(
    bundle: CertificateBundle,
    authorities: readonly CertificateAuthority[],
  ): Promise<BundleRefusal | undefined> {
    try {
      await this.#check?.(bundle, authorities);
      return undefined;
    } catch (error) {
      return { reason: 'preflight', problem: describeError(error) };
    }
  }

  /** Resolves when no trial is under way. */
  async settled(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay.values());
  }

  /** The hub certificate of this bundle is not taken again, unless {@link accept} says so. */
  takeBack({ server }: CertificateBundle, problem: string): void {
    this.#returned.set(server.sha256, { reason: 'returned', problem });
  }

  /** It stays after all: there was nothing to go back to. */
  forgive({ server }: CertificateBundle): void {
    this.#returned.delete(server.sha256);
  }

  /** A person wants this hub certificate, whatever happens. */
  accept(sha256: string): void {
    this.#accepted.add(sha256);
    this.#returned.delete(sha256);
  }

  isAccepted(sha256: string): boolean {
    return this.#accepted.has(sha256);
  }

  /** What is neither stored nor in use is forgotten. */
  keepOnly(sha256s: readonly (string | undefined)[]): void {
    for (const known of [...this.#returned.keys(), ...this.#accepted]) {
      if (sha256s.includes(known)) continue;
      this.#returned.delete(known);
      this.#accepted.delete(known);
    }
  }
}
