/**
 * Ways an edge can be connected, once for hub and SDK. The history stores their numbers: a new one goes to
 * the end.
 */
export const TRANSPORTS = ['websocket', 'quic', 'webtransport'] as const;
export type TransportName = (typeof TRANSPORTS)[number];

interface ListenerDefinition {
  readonly network: 'tcp' | 'udp';
  /**
   * Who does TLS. QUIC's library verifies the client's chain by itself and shows nobody the certificate it
   * was served.
   */
  readonly tls: 'node' | 'quic-library';
}

/**
 * Every listener, in the order they start: edges can enrol before they can connect, and operators come last.
 * Each name is a section of the configuration, a label of metrics and a word of the admin API.
 */
export const LISTENERS = {
  https: { network: 'tcp', tls: 'node' },
  websocket: { network: 'tcp', tls: 'node' },
  quic: { network: 'udp', tls: 'quic-library' },
  webtransport: { network: 'tcp', tls: 'node' },
  tunnel: { network: 'tcp', tls: 'node' },
  admin: { network: 'tcp', tls: 'node' },
} as const satisfies Readonly<Record<TransportName | 'https' | 'tunnel' | 'admin', ListenerDefinition>>;

export type ListenerName = keyof typeof LISTENERS;
export const LISTENER_NAMES = Object.keys(LISTENERS) as readonly ListenerName[];
