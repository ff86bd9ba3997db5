import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { FastifyRequest } from 'fastify';
import type { TlsServer } from '../../contracts/tls-server.ts';
import { SallyportError } from '../../core/errors.ts';
import type { NodeIdentity, Verdict } from '../../identity/node-identity.ts';
import { peerCertificates } from '../peer-certificates.ts';
import { sourceOf } from './rate-limiter.ts';

/** What this listener needs of the gate; `identity/peer-gate.ts` is it. */
export interface Gate {
  check(certificate: X509Certificate | undefined, intermediates?: readonly X509Certificate[]): Verdict;
}

/** The other end of a request. */
export interface Peer {
  /** Undefined when no certificate was presented. */
  readonly verdict: Verdict | undefined;
  /** The presented certificate, DER, whatever the verdict. */
  readonly certificate: Uint8Array | undefined;
  /** The node of an accepted certificate. */
  readonly node: string | undefined;
  /** For logs, audit and limits, never for identity. */
  readonly address: string;
  /**
   * Under which name its requests are counted: behind a balancer or NAT only a certificate tells nodes apart
   * (requirement H7).
   */
  readonly source: string;
}

/** @throws NOT_AUTHENTICATED, PEER_REFUSED unless it showed a certificate that is accepted */
export function identityOf({ verdict }: Peer): NodeIdentity {
  if (!verdict) throw new SallyportError('NOT_AUTHENTICATED');
  if (!verdict.ok) throw new SallyportError('PEER_REFUSED', { reason: verdict.detail });
  return verdict.identity;
}

export type ReadPeer = (request: FastifyRequest) => Peer;

/**
 * Judges the client certificate anew for each request, because trust may have changed since the handshake.
 */
export function peerReader({
  gate,
  server,
}: {
  gate: Gate;
  server: Pick<TlsServer, 'remoteAddress'>;
}): ReadPeer {
  return (request) => {
    const socket = request.raw.socket as TLSSocket;
    const address = server.remoteAddress(socket);
    const { leaf, intermediates } = peerCertificates(socket);
    const verdict = leaf && gate.check(leaf, intermediates);
    const node = verdict?.ok ? verdict.identity.nodeName : undefined;
    const source = node === undefined ? `address ${sourceOf(address)}` : `node ${node}`;
    return { verdict, certificate: leaf?.raw, node, address, source };
  };
}
