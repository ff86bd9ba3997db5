import { once } from 'node:events';
import { afterEach } from 'vitest';
import type { WebSocket } from 'ws';
import { systemClock } from '../../../../src/core/clock.ts';
import { createMetrics } from '../../../../src/core/metrics.ts';
import { DEFAULT_TLS_GROUPS } from '../../../../src/core/tls-groups.ts';
import { PeerGate } from '../../../../src/identity/peer-gate.ts';
import { RejectionLog } from '../../../../src/listeners/rejection-log.ts';
import type { WebSocketListenerOptions } from '../../../../src/listeners/websocket/options.ts';
import { WebSocketListener } from '../../../../src/listeners/websocket/websocket-listener.ts';
import { closeReason } from '../../../../src/protocol/close-reasons.ts';
import { DEFAULT_JSON_LIMITS } from '../../../../src/protocol/json-scan.ts';
import { createMessage } from '../../../../src/protocol/message.ts';
import type { ManualClock } from '../../../fakes/manual-clock.ts';
import { RecordingAcceptor } from '../../../fakes/recording-acceptor.ts';
import { capturedLog } from '../../../support/captured-log.ts';
import { GENEROUS_TLS_LIMITS } from '../../../support/edges/tls-limits.ts';
import { type EdgeSocketOptions, edgeSocket } from '../../../support/edges/websocket-client.ts';
import { bundleOf, FixedSource } from '../../../support/pki/fixed-source.ts';
import { ca, edge, hub } from '../../../support/pki/hub-and-edge.ts';

export const PROJECT = 'e632aba927ea4ac2b575ec1603d56f10';
const cleanUp: (() => unknown)[] = [];

/** To be called once in each file: an end for what its tests start. */
export function useWebSocketListeners(): void {
  afterEach(async () => {
    for (const step of cleanUp.splice(0).reverse()) await step();
  });
}

interface Setup {
  readonly options?: Partial<Omit<WebSocketListenerOptions, 'limits'>>;
  readonly limits?: Partial<WebSocketListenerOptions['limits']>;
  readonly clock?: ManualClock;
  readonly allowLegacy?: boolean;
}

export async function start({ options = {}, limits = {}, clock, allowLegacy = false }: Setup = {}) {
  const source = new FixedSource(bundleOf({ ca, server: hub }));
  const log = capturedLog();
  const metrics = createMetrics({ process: false });
  const acceptor = new RecordingAcceptor();
  const rejections = new RejectionLog({ clock: systemClock });
  // Certificates are minted for now, so the gate looks at the real time also when the listener's clock
  // stands.
  const gate = new PeerGate({ trust: () => source.current().clientCAs, clock: systemClock }, () => ({
    allowLegacy,
    legacyNodes: {},
  }));
  const listener = new WebSocketListener(
    { source, gate, acceptor, clock: clock ?? systemClock, log, metrics, rejections },
    () => ({
      host: '127.0.0.1',
      port: 0,
      tls: { minVersion: 'TLSv1.2', groups: DEFAULT_TLS_GROUPS },
      ...DEFAULT_JSON_LIMITS,
      maxMessageBytes: 1 << 20,
      maxPendingUpstream: 4,
      ...options,
      limits: {
        ...GENEROUS_TLS_LIMITS,
        writeTimeoutMs: 30_000,
        ...limits,
      },
    }),
  );
  await listener.start();
  cleanUp.push(() => listener.stop(closeReason('Draining'), AbortSignal.abort()));
  const { port } = listener.address();
  const attempt = (as: Partial<EdgeSocketOptions> = {}) =>
    edgeSocket(port, { ca, edge, node: 'edge-1', ...as });
  const join = async (as: Partial<EdgeSocketOptions> = {}) => {
    const answer = await attempt(as);
    if (!answer.open) throw new Error(`refused: ${answer.status} ${answer.reason} ${answer.body}`);
    cleanUp.push(() => answer.socket.terminate());
    const count = acceptor.accepted.length;
    const record = acceptor.accepted[count - 1]!;
    return { socket: answer.socket, record };
  };
  return { listener, port, acceptor, log, metrics, rejections, attempt, join, source };
}

export const message = (content: unknown = 'x') =>
  createMessage({ source: 'edged', group: 'resource', operation: 'update', resource: 'a/b' }, content, {
    now: 1,
  });
export const closeOf = async (socket: WebSocket) => {
  const [code, text] = (await once(socket, 'close')) as [number, Buffer];
  return { code, text: text.toString() };
};
