import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';

const MAX_INTERMEDIATES = 4;

export interface PeerCertificates {
  readonly leaf: X509Certificate | undefined;
  readonly intermediates: readonly X509Certificate[];
}

/** What a TLS peer presented, in the form the gate takes. Never throws. */
export function peerCertificates(socket: TLSSocket): PeerCertificates {
  try {
    const leaf = socket.getPeerX509Certificate();
    const intermediates: X509Certificate[] = [];
    for (let one = leaf?.issuerCertificate; one && intermediates.length < MAX_INTERMEDIATES; ) {
      intermediates.push(one);
      const above: X509Certificate | undefined = one.issuerCertificate;
      one = above === one ? undefined : above;
    }
    return { leaf, intermediates };
  } catch {
    return { leaf: undefined, intermediates: [] };
  }
}
