import type { X509Certificate } from 'node:crypto';
import { isIssuedBy } from '../x509/issuer-path.ts';
import type { CertificateAuthority } from './certificate-authority.ts';
import type { RolloverState } from './rollover-state.ts';

/**
 * Which CA does what at this moment: what follows from the CA Secret and the state of the rollover together.
 */
export interface CaRoles {
  /** What `/ca.crt` hands out, and what new certificates come from. */
  readonly issuing: CertificateAuthority;
  /** The other CA of a rollover: trusted as well, and the hub certificate may still, or again, be from it. */
  readonly partner?: X509Certificate;
  /** CAs signed by other CAs, which lead nodes that know only one CA to the one that issued. */
  readonly bridges: readonly X509Certificate[];
}

/** The CA of the CA Secret, the rollover, and what follows from both. */
export interface CaParts {
  readonly own: CertificateAuthority;
  readonly rollover: RolloverState;
  readonly roles: CaRoles;
}

/** Chains longer than this are of several rollovers in a row. */
const MAX_BRIDGES = 4;

/**
 * Puts the CA of the CA Secret and the rollover together.
 * @param own the CA of the CA Secret
 * @returns undefined when the rollover is about other CAs: neither can be believed then
 */
export function resolveCaRoles(own: CertificateAuthority, state: RolloverState): CaRoles | undefined {
  const { phase, pair, bridges, wasActive } = state;
  if (phase === 'idle' || !pair) return { issuing: own, bridges };
  const { old, next, cross, back } = pair;
  const isOld = own.x509.fingerprint256 === old.fingerprint256;
  const isNew = own.certificate.sha256 === next.certificate.sha256;
  switch (phase) {
    case 'prepared':
      // Before the new CA has issued anything, nobody needs the way back, and the chain stays as it was.
      return isOld
        ? { issuing: own, partner: next.x509, bridges: wasActive ? [cross, back, ...bridges] : bridges }
        : undefined;
    case 'active':
    case 'retiring':
      return isOld ? { issuing: next, partner: old, bridges: [cross, back, ...bridges] } : undefined;
    case 'revoking':
      return isOld || isNew ? { issuing: next, bridges: [cross, ...bridges] } : undefined;
  }
}

/**
 * The bridges to serve behind a chain that ends at `anchor`: each says of the CA before it what another CA
 * thinks of it. Expired ones help nobody.
 * @param now milliseconds since the epoch
 */
export function bridgesFrom(
  anchor: X509Certificate,
  bridges: readonly X509Certificate[],
  now: number,
): X509Certificate[] {
  const usable = bridges.filter((bridge) => isValid(bridge, now) && !isIssuedBy(bridge, anchor));
  const found = usable.filter((bridge) => isSameCa(bridge, anchor));
  // Each further one bears the key of a CA that signed one before: the way back over several rollovers.
  for (let at = 0; at < found.length && found.length < MAX_BRIDGES; at++)
    found.push(...usable.filter((bridge) => !found.includes(bridge) && isIssuedBy(found[at]!, bridge)));
  return found.slice(0, MAX_BRIDGES);
}

function isSameCa(a: X509Certificate, b: X509Certificate): boolean {
  return a.subject === b.subject && a.publicKey.equals(b.publicKey);
}

function isValid(certificate: X509Certificate, now: number): boolean {
  return now >= certificate.validFromDate.getTime() && now < certificate.validToDate.getTime();
}

/** The trusted CAs whose keys are here. */
export function authoritiesOf({ own, roles, rollover: { pair } }: CaParts): CertificateAuthority[] {
  const { issuing, partner } = roles;
  const other = [own, ...(pair ? [pair.next] : [])].find(
    ({ x509 }) => partner !== undefined && x509.fingerprint256 === partner.fingerprint256,
  );
  return other ? [issuing, other] : [issuing];
}
