import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { ClientHttp2Stream } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { systemClock } from '../../src/core/clock.ts';
import { isSallyportError } from '../../src/core/errors.ts';
import { silentLogger } from '../../src/core/log.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import { TicketBook } from '../../src/identity/ticket-book.ts';
import { WebTransportListener } from '../../src/listeners/webtransport/webtransport-listener.ts';
import { closeReason } from '../../src/protocol/close-reasons.ts';
import { RecordingAcceptor, TestEdge } from '../support/edges/quic-rig.ts';
import {
  askForSession,
  connectWebTransport,
  WEBTRANSPORT_TEST_OPTIONS,
} from '../support/edges/webtransport-rig.ts';
import { listenerContract } from './listener.contract.ts';

/**
 * Over HTTP/2; HTTP/3 has no client certificates, so what the contract asks of them cannot be asked of it.
 */
listenerContract({
  name: 'WebTransport over HTTP/2',
  clientCertificate: 'required',

  async start({ source, gate, maxConnections }) {
    const listener = new WebTransportListener(
      {
        source,
        gate,
        tickets: new TicketBook({
          clock: systemClock,
          stillTrusted: (identity) => gate.stillTrusted(identity),
        }),
        acceptor: new RecordingAcceptor(),
        clock: systemClock,
        log: silentLogger,
        metrics: createMetrics({ process: false }),
      },
      () => ({
        ...WEBTRANSPORT_TEST_OPTIONS,
        limits: { ...WEBTRANSPORT_TEST_OPTIONS.limits, connections: maxConnections },
      }),
    );
    await listener.start();
    return listener;
  },

  async connect(port, { ca, edge, node }) {
    if (!edge) {
      const { headers } = await askForSession(port, { path: '/edge', headers: { node_id: node } });
      return { accepted: false, reason: headers['sallyport-reason'] as string | undefined };
    }
    let servedSha256: string | undefined;
    // The SDK tells nobody which certificate it was shown.
    const onStream = (event: unknown) => {
      const { socket } = (event as { stream: ClientHttp2Stream }).stream.session!;
      const served = (socket as TLSSocket).getPeerX509Certificate();
      if (socket.remotePort === port) servedSha256 = served?.fingerprint256.replaceAll(':', '').toLowerCase();
    };
    subscribe('http2.client.stream.created', onStream);
    try {
      const link = await connectWebTransport(port, { ca, edge, node });
      if (servedSha256 === undefined) throw new Error('the certificate was not seen');
      const test = new TestEdge(link);
      return {
        accepted: true,
        servedSha256,
        works: async () => (await test.echo('still there')).content === 'still there',
        async close() {
          link.close(closeReason('Normal'));
          await test.closed;
        },
      };
    } catch (error) {
      const word = isSallyportError(error, 'CONNECT_REFUSED') ? error.details.word : undefined;
      return { accepted: false, reason: word as string | undefined };
    } finally {
      unsubscribe('http2.client.stream.created', onStream);
    }
  },
});
