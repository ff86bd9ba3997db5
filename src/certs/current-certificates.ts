import type { X509Certificate } from 'node:crypto';
import type { CaCertificate, CertificateBundle, CertificateSource } from '../contracts/certificate-source.ts';
import { Property, type Unsubscribe } from '../core/property.ts';
import type { CaParts, CaRoles } from './ca/ca-roles.ts';
import { type CertificateAuthority, toCaCertificate } from './ca/certificate-authority.ts';
import { isSameRollover, type RolloverState } from './ca/rollover-state.ts';

/** What is in use, and what it was made of. */
export interface InUse extends CaParts {
  readonly bundle: CertificateBundle;
  /** The CAs of the trust Secret. */
  readonly trust: readonly X509Certificate[];
}

/** The certificates in use: everybody reads them here. `CertificateManager` is the one who writes. */
export class CurrentCertificates implements CertificateSource {
  readonly #bundle: Property<CertificateBundle>;
  readonly #rollover: Property<RolloverState>;
  #inUse: Omit<InUse, 'bundle'>;
  #cas: CaParts;
  #ownCas: readonly CaCertificate[];

  /** @param prepared what `prepareAllCerts` returned: what exists has a valid bundle */
  constructor({ bundle, cas, trust }: Pick<InUse, 'bundle' | 'trust'> & { readonly cas: CaParts }) {
    this.#bundle = new Property(bundle);
    this.#rollover = new Property(cas.rollover);
    this.#inUse = { ...cas, trust };
    this.#cas = cas;
    this.#ownCas = ownCas(cas.roles);
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

  /** The CAs that the bundle in use was made with. */
  get casInUse(): CaParts {
    return this.#inUse;
  }

  /**
   * The CA of the CA Secret, and the rollover from it to another, as stored: ahead of what is in use for the
   * moment in which the hub certificate is issued anew.
   */
  get cas(): CaParts {
    return this.#cas;
  }

  /** Told after each change of the rollover's state, receipts included. */
  onRollover(listener: (next: RolloverState, previous: RolloverState) => void): Unsubscribe {
    return this.#rollover.onChange(listener);
  }

  /**
   * For the manager alone: makes this current, and tells the followers of the bundle. An equal bundle stays
   * the one it is.
   */
  use({ bundle, own, rollover, roles, trust }: InUse): void {
    this.#inUse = { own, rollover, roles, trust };
    this.#ownCas = ownCas(roles, this.#ownCas);
    if (bundle.fingerprint !== this.current().fingerprint) this.#bundle.set(bundle);
  }

  /** For the manager alone: the CAs as stored now; {@link tellRollover} follows. */
  stored(cas: CaParts): void {
    this.#cas = cas;
  }

  /** For the manager alone: tells the followers of the rollover when its state is another one. */
  tellRollover(): void {
    const { rollover } = this.#cas;
    if (!isSameRollover(rollover, this.#rollover.value)) this.#rollover.set(rollover);
  }
}

/** The gate parses its CAs anew for every new array, so an equal one stays the same. */
function ownCas({ issuing, partner }: CaRoles, present: readonly CaCertificate[] = []) {
  const next = [issuing.certificate, ...(partner ? [toCaCertificate(partner)] : [])];
  const isSame =
    next.length === present.length && next.every(({ sha256 }, i) => sha256 === present[i]!.sha256);
  return isSame ? present : next;
}
