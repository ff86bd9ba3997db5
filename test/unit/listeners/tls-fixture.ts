import type { RequestListener } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { afterEach } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { DEFAULT_TLS_GROUPS } from '../../../src/core/tls-groups.ts';
import type { TlsServerLimits } from '../../../src/listeners/accepted-sockets.ts';
import type { DescriptorShare } from '../../../src/listeners/descriptor-budget.ts';
import { peerCertificates } from '../../../src/listeners/peer-certificates.ts';
import { RejectionLog } from '../../../src/listeners/rejection-log.ts';
import { TlsServer, type TlsServerOptions } from '../../../src/listeners/tls-server.ts';
import type { ManualClock } from '../../fakes/manual-clock.ts';
import { capturedLog } from '../../support/captured-log.ts';
import { readAll } from '../../support/edges/tls-client.ts';
import { bundleOf, FixedSource } from '../../support/pki/fixed-source.ts';
import { ca, hub } from '../../support/pki/hub-and-edge.ts';

export const LIMITS: TlsServerLimits = {
  connections: 100,
  connectionsPerIp: 100,
  handshakes: 10,
  handshakeTimeoutMs: 10_000,
  requestTimeoutMs: 10_000,
  proxyProtocolFrom: [],
};
const running: TlsServer[] = [];

/** To be called once in each file: an end for the servers that its tests start. */
export function useTlsServers(): void {
  afterEach(async () => {
    const now = AbortSignal.abort();
    for (const server of running.splice(0)) await server.stop(now);
  });
}

export async function start(
  limits: Partial<TlsServerLimits> = {},
  options: {
    tls?: TlsServerOptions['tls'];
    clock?: ManualClock;
    onRequest?: RequestListener;
    descriptors?: DescriptorShare;
  } = {},
) {
  const { tls = { minVersion: 'TLSv1.2', groups: DEFAULT_TLS_GROUPS }, clock = systemClock } = options;
  const log = capturedLog();
  const metrics = createMetrics({ process: false });
  const rejections = new RejectionLog({ clock });
  const source = new FixedSource(bundleOf({ ca, server: hub }));
  const live = { ...LIMITS, ...limits };
  const server = new TlsServer(
    { source, clock, log, metrics, rejections, descriptors: options.descriptors },
    () => ({ name: 'https', host: '127.0.0.1', port: 0, tls, limits: live }),
    options.onRequest ??
      ((request, response) => {
        const { leaf } = peerCertificates(request.socket as TLSSocket);
        response.end(`${leaf?.subject ?? 'nobody'} from ${server.remoteAddress(request.socket)}\n`);
      }),
  );
  await server.start();
  running.push(server);
  return { server, port: server.address().port, log, metrics, rejections, source, live };
}

export const get = async (socket: TLSSocket) => {
  socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  return readAll(socket);
};
