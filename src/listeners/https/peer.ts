import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { FastifyRequest } from 'fastify';
import type { Verdict } from '../../identity/node-identity.ts';
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
  /** Under which name its requests are counted: behind a balancer or NAT only a certificate tells nodes apart (requirement H7). */
  readonly source: string;
}

/** Judges the client certificate anew for each request, because trust may have changed since the handshake. */
export function peerOf(request: FastifyRequest, gate: Gate): Peer {
  const certificate = (request.raw.socket as TLSSocket).getPeerX509Certificate?.();
  const source = `address:${sourceOf(request.ip ?? '')}`;
  if (certificate === undefined)
    return { verdict: undefined, certificate: undefined, node: undefined, source };
  const verdict = gate.check(certificate, intermediatesOf(certificate));
  const node = verdict.ok ? verdict.identity.nodeName : undefined;
  return {
    verdict,
    certificate: certificate.raw,
    node,
    source: node === undefined ? source : `node:${node}`,
  };
}

/** The chain the peer sent after its own certificate, bounded against loops. */
function intermediatesOf(certificate: X509Certificate): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let next = certificate.issuerCertificate;
  while (next !== undefined && chain.length < 8 && !chain.includes(next)) {
    chain.push(next);
    next = next.issuerCertificate;
  }
  return chain;
}
