import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { oneLine } from '../../certs/x509/certificate-names.ts';
import { pathTo } from '../../certs/x509/issuer-path.ts';

export interface ChainVerdict {
  readonly ok: boolean;
  /** What is wrong, or which CA it leads to. */
  readonly text: string;
}

/**
 * Whether the chain a server sent leads to one of the CAs, each tried by itself (requirement C2), is valid
 * now, and names the host that was dialled.
 * @param chain leaf first
 */
export function judgeChain(
  [leaf, ...intermediates]: readonly [X509Certificate, ...X509Certificate[]],
  expected: { readonly anchors: readonly X509Certificate[]; readonly host: string; readonly now: number },
): ChainVerdict {
  const { anchors, host, now } = expected;
  const found = anchors
    .map((anchor) => ({ anchor, path: pathTo(anchor, leaf, intermediates) }))
    .find(({ path }) => path);
  if (!found?.path)
    return { ok: false, text: `it was issued by ${oneLine(leaf.issuer)}, which leads to no CA given` };
  const ended = [...found.path, found.anchor].find(
    ({ validFromDate, validToDate }) => now < validFromDate.getTime() || now >= validToDate.getTime(),
  );
  if (ended) return { ok: false, text: `${oneLine(ended.subject)} is not valid now` };
  const isNamed = isIP(host) ? leaf.checkIP(host) : leaf.checkHost(host, { subject: 'never' });
  if (isNamed === undefined) return { ok: false, text: `it does not name ${host}` };
  return {
    ok: true,
    text: `leads to ${oneLine(found.anchor.subject)} (SHA-256 ${found.anchor.fingerprint256.replaceAll(':', '').toLowerCase()})`,
  };
}
