import { createHash } from 'node:crypto';
import type { CertificateBundle, CertificateSource } from '../../../src/contracts/certificate-source.ts';
import { Property } from '../../../src/core/property.ts';
import { asCaCertificate, mintCa, mintServer, type Pair } from './pki.ts';

/** A source whose bundle a test sets. */
export class FixedSource implements CertificateSource {
  readonly #bundle: Property<CertificateBundle>;

  constructor(bundle: CertificateBundle) {
    this.#bundle = new Property(bundle);
  }

  current(): CertificateBundle {
    return this.#bundle.value;
  }

  onChange(listener: (next: CertificateBundle, previous: CertificateBundle) => void): () => void {
    return this.#bundle.onChange(listener);
  }

  set(bundle: CertificateBundle): void {
    this.#bundle.set(bundle);
  }
}

/** A bundle of real pairs. @param clientCAs default: `ca` alone */
export function bundleOf({
  ca,
  server,
  clientCAs = [ca],
}: {
  ca: Pair;
  server: Pair;
  clientCAs?: readonly Pair[];
}): CertificateBundle {
  const hash = createHash('sha256').update(server.pem).update(server.key);
  for (const one of [ca, ...clientCAs]) hash.update(one.pem);
  return {
    fingerprint: hash.digest('hex'),
    server: {
      cert: server.pem,
      key: server.key,
      sha256: server.sha256,
      serial: server.certificate.serialNumber,
      notBefore: server.certificate.validFromDate,
      notAfter: server.certificate.validToDate,
      names: (server.certificate.subjectAltName ?? '')
        .split(', ')
        .map((name) => name.replace(/^(DNS|IP Address):/, ''))
        .filter(Boolean),
      issuer: ca.certificate.subject,
    },
    ca: asCaCertificate(ca),
    clientCAs: clientCAs.map(asCaCertificate),
    notAfter: server.certificate.validToDate,
  };
}

/** A fresh CA, a hub certificate of it, and the source that serves them. */
export async function freshSource(): Promise<{ ca: Pair; server: Pair; source: FixedSource }> {
  const ca = await mintCa();
  const server = await mintServer(ca);
  return { ca, server, source: new FixedSource(bundleOf({ ca, server })) };
}
