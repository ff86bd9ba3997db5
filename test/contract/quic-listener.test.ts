import { systemClock } from '../../src/core/clock.ts';
import { isSallyportError } from '../../src/core/errors.ts';
import { silentLogger } from '../../src/core/log.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import { QUIC_DEFAULTS } from '../../src/listeners/quic/options.ts';
import { QuicListener } from '../../src/listeners/quic/quic-listener.ts';
import { closeReason } from '../../src/protocol/close-reasons.ts';
import { DEFAULT_JSON_LIMITS } from '../../src/protocol/json-scan.ts';
import { QuicTransport } from '../../src/sdk/transports/quic-transport.ts';
import { RecordingAcceptor, rawQuic, TestEdge } from '../support/edges/quic-rig.ts';
import { listenerContract } from './listener.contract.ts';

listenerContract({
  name: 'QUIC',
  clientCertificate: 'required',
  tellsTwinCasApart: false,
  libraryWords: {
    'with an unknown critical extension (O3)': 'malformed-certificate',
    'whose key may not sign (O3)': undefined,
  },

  async start({ source, gate, maxConnections }) {
    const listener = new QuicListener(
      {
        source,
        gate,
        acceptor: new RecordingAcceptor(),
        clock: systemClock,
        log: silentLogger,
        metrics: createMetrics({ process: false }),
      },
      () => ({
        ...QUIC_DEFAULTS,
        host: '127.0.0.1',
        port: 0,
        epoch: 'contract',
        keepaliveTimeoutMs: 30_000,
        ...DEFAULT_JSON_LIMITS,
        maxMessageBytes: 1 << 20,
        maxPendingUpstream: 64,
        handshakeTimeoutMs: 10_000,
        requestTimeoutMs: 10_000,
        writeTimeoutMs: 30_000,
        connections: maxConnections,
        connectionsPerIp: 1_000,
        handshakes: 100,
        connectionsPerServer: 64,
      }),
    );
    await listener.start();
    return listener;
  },

  async connect(port, { ca, edge, node }) {
    if (!edge) {
      const { ended } = await rawQuic(port, { ca, pair: undefined });
      const { reason } = await ended;
      return { accepted: false, reason: /^\w+: ([a-z-]+): /.exec(reason)?.[1] };
    }
    const transport = new QuicTransport(
      { clock: systemClock, logger: silentLogger },
      { address: `127.0.0.1:${port}` },
    );
    try {
      const link = await transport.connect(
        { node, ca: ca.pem, certificate: edge.pem, key: edge.key },
        {
          projectId: 'p',
          agent: 'contract/1',
          maxMessageBytes: 1 << 20,
          connectTimeoutMs: 800,
          writeTimeoutMs: 30_000,
          signal: new AbortController().signal,
        },
      );
      const one = new TestEdge(link);
      return {
        accepted: true,
        servedSha256: undefined,
        works: async () => (await one.echo('still there')).content === 'still there',
        close: () => link.close(closeReason('Normal')),
      };
    } catch (error) {
      if (!isSallyportError(error, 'CONNECT_REFUSED', 'CONNECT_FAILED')) throw error;
      return { accepted: false, reason: error.details.word as string | undefined };
    }
  },
});
