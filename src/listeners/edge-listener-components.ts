import type { EdgeAcceptor } from '../contracts/edge-connection.ts';
import type { PeerGate } from '../identity/peer-gate.ts';
import type { TlsServerComponents } from './tls-server.ts';

/** What each listener for edges is made of. */
export interface EdgeListenerComponents extends TlsServerComponents {
  readonly gate: Pick<PeerGate, 'check'>;
  readonly acceptor: EdgeAcceptor;
}
