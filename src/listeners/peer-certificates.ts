import type { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

const MAX_INTERMEDIATES = 4;
const PEER = Symbol('peer certificates');

export interface PeerCertificates {
  readonly leaf: X509Certificate | undefined;
  readonly intermediates: readonly X509Certificate[];
}

type Known = Socket & { [PEER]?: PeerCertificates | undefined };

/**
 * What a TLS peer presented, in the form the gate takes. Node tells the chain at the first reading only, so
 * that is kept with the socket until {@link forgetPeer}. Never throws.
 */
export function peerCertificates(socket: TLSSocket): PeerCertificates {
  const known = (socket as Known)[PEER];
  if (known) return known;
  const read = readPeer(socket);
  (socket as Known)[PEER] = read;
  return read;
}

/** A session knows who it is; the certificates of an idle one need not be kept. */
export function forgetPeer(socket: Socket): void {
  (socket as Known)[PEER] = undefined;
}

function readPeer(socket: TLSSocket): PeerCertificates {
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
