import type { X509Certificate } from 'node:crypto';

/** Longer chains are loops or attacks; real ones have one or two. */
const MAX_DEPTH = 8;

/** The way from the leaf up to `anchor`, which is left out; undefined when there is none. */
export function pathTo(
  anchor: X509Certificate,
  leaf: X509Certificate,
  intermediates: readonly X509Certificate[],
): X509Certificate[] | undefined {
  const walk = (path: X509Certificate[]): X509Certificate[] | undefined => {
    const last = path.at(-1)!;
    if (isIssuedBy(last, anchor)) return path;
    if (path.length >= MAX_DEPTH) return undefined;
    for (const next of intermediates) {
      if (path.includes(next) || !next.ca || !isIssuedBy(last, next)) continue;
      const found = walk([...path, next]);
      if (found) return found;
    }
    return undefined;
  };
  return walk([leaf]);
}

/** Whether `issuer` signed `certificate`, as OpenSSL sees it: names, key identifiers and the signature. */
export function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  try {
    return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
  } catch {
    return false; // a key of a kind OpenSSL cannot verify with
  }
}
