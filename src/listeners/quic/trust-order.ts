import type { CertificateBundle } from '../../contracts/certificate-source.ts';
import { hasKeyIdentifier, withKeyIdentifier } from './marked-ca.ts';

/**
 * The library looks for a client's CA by name and takes the first whose key identifier does not contradict
 * the certificate. KubeEdge's CAs all share a name and lack the identifier, so they are given one here
 * (requirement C2): every certificate this hub issues names the key of its CA, whatever the CA says of
 * itself. Certificates without that, of old KubeEdge versions, go by the name alone; for their sake the order
 * is kept: CAs that have an identifier of their own come first (docs/decisions/quic-library.md).
 */
export function trustOrder(bundle: Pick<CertificateBundle, 'clientCAs'>): string[] {
  return [...bundle.clientCAs]
    .sort((a, b) => Number(hasKeyIdentifier(b.der)) - Number(hasKeyIdentifier(a.der)))
    .map(withKeyIdentifier);
}

/**
 * Subjects that several trusted CAs share: of edges whose certificate does not name the key of its CA, those
 * of the first alone get in.
 */
export function indistinguishable({ clientCAs }: Pick<CertificateBundle, 'clientCAs'>): string[] {
  const unmarked = clientCAs.filter((ca) => !hasKeyIdentifier(ca.der)).map((ca) => ca.subject);
  return [...new Set(unmarked.filter((subject, i) => unmarked.indexOf(subject) !== i))];
}
