import type { CertificateSource } from '../../../src/contracts/certificate-source.ts';
import { type Clock, systemClock } from '../../../src/core/clock.ts';
import { type Logger, silentLogger } from '../../../src/core/log.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { DEFAULT_TLS_GROUPS } from '../../../src/core/tls-groups.ts';
import type { TlsServerLimits } from '../../../src/listeners/accepted-sockets.ts';
import { TlsServer } from '../../../src/listeners/tls-server.ts';
import type { ListenerName } from '../../../src/protocol/listener-names.ts';

/** A real TLS server on a free loopback port, with generous limits unless a test sets its own. */
export function testTlsServer({
  name,
  source,
  clock = systemClock,
  log = silentLogger,
  limits = {},
}: {
  name: ListenerName;
  source: CertificateSource;
  clock?: Clock;
  log?: Logger;
  limits?: Partial<TlsServerLimits>;
}): TlsServer {
  const options = {
    name,
    host: '127.0.0.1',
    port: 0,
    tls: { minVersion: 'TLSv1.2' as const, groups: DEFAULT_TLS_GROUPS },
    limits: {
      connections: 1000,
      connectionsPerIp: 1000,
      handshakes: 64,
      handshakeTimeoutMs: 10_000,
      requestTimeoutMs: 10_000,
      proxyProtocolFrom: [],
      ...limits,
    },
  };
  const metrics = createMetrics({ process: false });
  return new TlsServer({ source, clock, log, metrics }, () => options);
}
