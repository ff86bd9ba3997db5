import type { CrlSource } from '../../contracts/revocations.ts';
import type { Clock } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { CertificateAuthority } from '../ca/certificate-authority.ts';
import type { CrlContent } from '../x509/crl.ts';
import type { RevocationEntry, RevocationList } from './revocation-list.ts';

export interface CrlPublisherComponents {
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'crlNextUpdate'>;
  /** The CA in use now. */
  readonly authority: () => Pick<CertificateAuthority, 'certificate' | 'maySignCrl' | 'signCrl'>;
  /** SHA-256 of the DER of every CA whose edges are accepted. */
  readonly trusted: () => readonly string[];
  /** The list in force. */
  readonly list: () => RevocationList;
}

/** A new CRL is signed this often though nothing changed, milliseconds. */
const REFRESH_MS = 3_600_000;
/** A CRL lives so long, milliseconds: whoever fetches it once a day is never without. */
const LIFETIME_MS = 7 * 86_400_000;
/** Room for the hours since 1970 in the CRL number, below the version of the list. */
const SLOT_BITS = 32n;

/**
 * The list as a CRL, for others; the gateway's own gate never looks at it, so a CRL that has ended locks
 * nobody out. Replicas with one list make the same CRL: number and dates follow from the version of the list
 * and the hour, and nothing has to be stored.
 */
export class CrlPublisher implements CrlSource {
  readonly #components: CrlPublisherComponents;
  #cached:
    | {
        readonly key: string;
        readonly list: RevocationList;
        readonly crl: ReturnType<CrlSource['current']>;
      }
    | undefined;

  constructor(components: CrlPublisherComponents) {
    this.#components = components;
  }

  current(): ReturnType<CrlSource['current']> {
    const { clock, authority, list, trusted } = this.#components;
    const ca = authority();
    const slot = Math.floor(clock.now() / REFRESH_MS);
    const key = [ca.certificate.sha256, slot, ...trusted()].join(' ');
    if (this.#cached?.key !== key || this.#cached.list !== list()) {
      const crl = this.#sign(slot);
      this.#cached = { key, list: list(), crl };
      crl.catch(() => {
        if (this.#cached?.crl === crl) this.#cached = undefined;
      });
    }
    return this.#cached.crl;
  }

  async #sign(slot: number): ReturnType<CrlSource['current']> {
    const { authority, list, trusted, metrics } = this.#components;
    const ca = authority();
    if (!ca.maySignCrl) {
      metrics.crlNextUpdate.set(0);
      throw new SallyportError('CRL_UNAVAILABLE', {
        problem: 'the certificate of the CA lacks the key usage cRLSign (RFC 5280 section 4.2.1.3)',
      });
    }
    const { version, entries } = list();
    const issuer = ca.certificate.sha256;
    const isOnlyCa = trusted().every((one) => one === issuer);
    const nextUpdate = new Date(slot * REFRESH_MS + LIFETIME_MS);
    const bySerial = new Map(
      entries
        .flatMap((entry) => crlEntries(entry, { issuer, isOnlyCa }))
        .map((entry) => [entry.serial, entry] as const),
    );
    const der = await ca.signCrl({
      number: (BigInt(version) << SLOT_BITS) | BigInt(slot),
      thisUpdate: new Date(slot * REFRESH_MS),
      nextUpdate,
      entries: [...bySerial.values()],
    });
    metrics.crlNextUpdate.set(nextUpdate.getTime() / 1000);
    return { der, nextUpdate };
  }
}

/** What a CRL of this issuer can say of the entry: serials whose issuer is known. */
function crlEntries(
  { target, certificates, at, reason }: RevocationEntry,
  { issuer, isOnlyCa }: { issuer: string; isOnlyCa: boolean },
): CrlContent['entries'] {
  const date = new Date(at);
  if ('serial' in target) {
    const isOurs = target.issuerSha256 === issuer || (target.issuerSha256 === undefined && isOnlyCa);
    return isOurs ? [{ serial: target.serial, at: date, reason }] : [];
  }
  return certificates
    .filter(({ issuerSha256 }) => issuerSha256 === issuer)
    .map(({ serial }) => ({ serial, at: date, reason }));
}
