import { once } from 'node:events';
import { systemClock } from '../../src/core/clock.ts';
import { silentLogger } from '../../src/core/log.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import { DEFAULT_TLS_GROUPS } from '../../src/core/tls-groups.ts';
import { WebSocketListener } from '../../src/listeners/websocket/websocket-listener.ts';
import { DEFAULT_JSON_LIMITS } from '../../src/protocol/json-scan.ts';
import { RecordingAcceptor } from '../fakes/recording-acceptor.ts';
import { GENEROUS_TLS_LIMITS } from '../support/edges/tls-limits.ts';
import { edgeSocket } from '../support/edges/websocket-client.ts';
import { listenerContract } from './listener.contract.ts';

listenerContract({
  name: 'WebSocket',
  clientCertificate: 'required',

  async start({ source, gate, maxConnections }) {
    const listener = new WebSocketListener(
      {
        source,
        gate,
        acceptor: new RecordingAcceptor(),
        clock: systemClock,
        log: silentLogger,
        metrics: createMetrics({ process: false }),
      },
      () => ({
        host: '127.0.0.1',
        port: 0,
        tls: { minVersion: 'TLSv1.2', groups: DEFAULT_TLS_GROUPS },
        limits: {
          ...GENEROUS_TLS_LIMITS,
          connections: maxConnections,
          writeTimeoutMs: 30_000,
        },
        ...DEFAULT_JSON_LIMITS,
        maxMessageBytes: 1 << 20,
        maxPendingUpstream: 64,
      }),
    );
    await listener.start();
    return listener;
  },

  async connect(port, { ca, edge, node }) {
    const answer = await edgeSocket(port, { ca, edge, node });
    if (!answer.open) return { accepted: false, reason: answer.reason };
    const { socket, servedSha256 } = answer;
    return {
      accepted: true,
      servedSha256,
      async works() {
        socket.ping('still there');
        const [data] = (await once(socket, 'pong')) as [Buffer];
        return data.toString() === 'still there';
      },
      close() {
        socket.terminate();
      },
    };
  },
});
