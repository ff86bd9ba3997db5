import type { NodeInfo } from '../contracts/node-directory.ts';
import type { Clock } from '../core/clock.ts';
import type { Session } from './session.ts';

/** What an operator may see of a session (L3). */
export function nodeInfo(
  session: Session,
  around: { replica: string; queued: number; clock: Clock },
): NodeInfo {
  const { connection } = session;
  const { clock } = around;
  const { certificate } = connection.peer;
  const { bytesReceived, bytesSent, rttMs } = connection.stats();
  return {
    node: session.node,
    sessionId: session.id,
    replica: around.replica,
    transport: connection.transport,
    remoteAddress: connection.remoteAddress,
    ...(connection.agent === undefined ? {} : { agent: connection.agent }),
    projectId: connection.projectId,
    ...(connection.keyExchange ? { keyExchange: connection.keyExchange } : {}),
    connectedSince: new Date(session.since).toISOString(),
    lastHeard: new Date(clock.now() - (clock.monotonic() - session.lastHeard)).toISOString(),
    certificate: {
      serial: certificate.serial,
      sha256: certificate.sha256,
      issuer: certificate.issuer,
      issuerSha256: certificate.issuerSha256,
      notAfter: new Date(certificate.notAfter).toISOString(),
    },
    queued: around.queued,
    unacknowledged: session.unacknowledged,
    messagesReceived: session.messagesReceived,
    messagesSent: session.messagesSent,
    bytesReceived,
    bytesSent,
    ...(session.heldBackMs === 0 ? {} : { heldBackMs: Math.round(session.heldBackMs) }),
    ...(rttMs === undefined ? {} : { rttMs }),
    ...(session.upstream ? { upstream: session.upstream.info() } : {}),
  };
}
