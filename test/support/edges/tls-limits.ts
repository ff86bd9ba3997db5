import type { TlsServerLimits } from '../../../src/listeners/accepted-sockets.ts';

/** Limits that no test reaches that is not about them. */
export const GENEROUS_TLS_LIMITS = {
  connections: 1_000,
  connectionsPerIp: 1_000,
  handshakes: 100,
  handshakeTimeoutMs: 10_000,
  requestTimeoutMs: 10_000,
  proxyProtocolFrom: [],
} as const satisfies TlsServerLimits;
