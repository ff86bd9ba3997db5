import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import type { TLSSocket } from 'node:tls';
import type { CertificateIssuer } from '../../src/contracts/certificate-issuer.ts';
import { systemClock } from '../../src/core/clock.ts';
import { SallyportError } from '../../src/core/errors.ts';
import { HealthRegistry } from '../../src/core/health.ts';
import { silentLogger } from '../../src/core/log.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import { HttpsListener } from '../../src/listeners/https/https-listener.ts';
import { testTlsServer } from '../support/edges/test-tls-server.ts';
import type { Pair } from '../support/pki/pki.ts';
import { type Attempt, listenerContract } from './listener.contract.ts';

/** Lets in whom the gate accepts, under the name of its certificate alone. */
const issuer: CertificateIssuer = {
  async issue({ peer, nodeName = '' }) {
    if (!peer?.ok) throw new SallyportError('PEER_REFUSED', { reason: peer?.detail });
    if (peer.identity.nodeName !== nodeName) throw new SallyportError('NODE_MISMATCH');
    return { der: Buffer.from('der'), nodeName, serial: '01', notAfter: new Date(0), how: 'renewal' };
  },
  isTokenValid: async () => false,
};

listenerContract({
  name: 'HTTPS',
  clientCertificate: 'optional',

  async start({ source, gate, maxConnections }) {
    const listener = new HttpsListener(
      {
        server: testTlsServer({ name: 'https', source, limits: { connections: maxConnections } }),
        source,
        gate,
        issuer,
        health: new HealthRegistry(),
        isKnownNode: () => true,
        clock: systemClock,
        log: silentLogger,
        metrics: createMetrics({ process: false }),
      },
      () => ({
        bodyBytes: 65_536,
        requestTimeoutMs: 10_000,
        requestsPerMinutePerSource: 1_000,
        requestsPerMinute: 1_000,
      }),
    );
    await listener.start();
    return listener;
  },

  /** Asks for a renewal over a connection that stays open. */
  async connect(port, { ca, edge, node }): Promise<Attempt> {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const renew = () => ask(agent, { port, ca, edge, node });
    try {
      const answer = await renew();
      if (answer.status !== 200) {
        agent.destroy();
        return { accepted: false, reason: answer.reason };
      }
      return {
        accepted: true,
        servedSha256: answer.servedSha256,
        async works() {
          const again = await renew();
          return again.status === 200 && again.localPort === answer.localPort;
        },
        close: () => agent.destroy(),
      };
    } catch {
      agent.destroy();
      return { accepted: false, reason: undefined };
    }
  },
});

function ask(
  agent: Agent,
  { port, ca, edge, node }: { port: number; ca: Pair; edge: Pair | undefined; node: string },
) {
  const identity = edge ? { cert: edge.pem, key: edge.key } : {};
  return new Promise<{
    status: number | undefined;
    reason: string | undefined;
    servedSha256: string;
    localPort: number | undefined;
  }>((resolve, reject) => {
    const call = request(
      {
        host: '127.0.0.1',
        port,
        path: '/edge.crt',
        ca: ca.pem,
        ...identity,
        agent,
        headers: { nodename: node, 'content-length': '3' },
      },
      (response: IncomingMessage) => {
        const socket = response.socket as TLSSocket;
        // Node's client gives the certificate of a connection only once.
        const sha256 =
          socket.getPeerX509Certificate()?.fingerprint256.replaceAll(':', '').toLowerCase() ?? '';
        const reason = response.headers['sallyport-reason'];
        const { localPort } = socket;
        response.resume().once('end', () => {
          resolve({
            status: response.statusCode,
            reason: reason === undefined ? undefined : String(reason),
            servedSha256: sha256,
            localPort,
          });
        });
      },
    );
    call.once('error', reject);
    call.end('csr');
  });
}
