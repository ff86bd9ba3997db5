/**
 * QUIC servers for benches, each in a process of its own, so that its CPU and memory are the server's alone.
 * `steered`: the listener as it runs. `direct`: the same server code on a port of its own, without steering.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { systemClock } from '../../src/core/clock.ts';
import { silentLogger } from '../../src/core/log.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import { PeerGate } from '../../src/identity/peer-gate.ts';
import { QuicGeneration } from '../../src/listeners/quic/generation.ts';
import { loadQuicLibrary } from '../../src/listeners/quic/native.ts';
import type { QuicListenerOptions } from '../../src/listeners/quic/options.ts';
import { QuicListener } from '../../src/listeners/quic/quic-listener.ts';
import { beginQuicOpening } from '../../src/listeners/quic/quic-opening.ts';
import { GENEROUS, RecordingAcceptor } from '../../test/support/edges/quic-rig.ts';
import { bundleOf, FixedSource } from '../../test/support/pki/fixed-source.ts';
import { mintCa, mintEdge, mintServer } from '../../test/support/pki/pki.ts';

export type Mode = 'steered' | 'direct';

export interface Usage {
  readonly cpuMs: number;
  readonly rssKb: number;
  readonly received: number;
  /** Connections that ended. */
  readonly ended: number;
}

/** `rotate`: serve a new certificate, then tell. */
type Question = 'tell' | 'collect and tell' | 'rotate';

/** Where a server is, and who gets in. */
export interface HubAddress {
  readonly port: number;
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
}

export interface QuicHub extends HubAddress {
  usage(question?: Question): Promise<Usage>;
  stop(): void;
}

/** So long that nothing but what is measured goes on. */
export const QUIET_MS = 600_000;

const options: QuicListenerOptions = {
  ...GENEROUS,
  host: '0.0.0.0',
  keepaliveTimeoutMs: QUIET_MS,
  connections: 10_000,
  connectionsPerIp: 10_000,
  connectionsPerServer: 96,
  ...(process.env.BENCH_QUIC ? JSON.parse(process.env.BENCH_QUIC) : {}),
};

export async function startQuicHub(mode: Mode): Promise<QuicHub> {
  const child = fork(import.meta.filename, [mode], { execArgv: ['--expose-gc'] });
  return {
    ...(await answer<HubAddress>(child)),
    usage(question = 'tell') {
      child.send(question);
      return answer<Usage>(child);
    },
    stop: () => void child.kill(),
  };
}

export function answer<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve) => child.once('message', (message) => resolve(message as T)));
}

async function serve(mode: Mode): Promise<void> {
  const ca = await mintCa();
  const source = new FixedSource(bundleOf({ ca, server: await mintServer(ca) }));
  const acceptor = new RecordingAcceptor();
  let received = 0;
  let ended = 0;
  const accept = acceptor.accept.bind(acceptor);
  acceptor.accept = (connection) => {
    accept(connection);
    connection.receive({
      onArrival: () => undefined,
      onMessage: (message) => {
        received++;
        if (message.route.operation === 'echo') connection.send(message).catch(() => {});
      },
      onAlive() {},
      onClose: () => void ended++,
    });
  };
  const gate = new PeerGate({ trust: () => source.current().clientCAs, clock: systemClock }, () => ({
    allowLegacy: false,
    legacyNodes: {},
  }));
  const log = silentLogger;
  let port: number;
  let rotate = async () => {};
  if (mode === 'steered') {
    const metrics = createMetrics({ process: false });
    const listener = new QuicListener(
      { source, gate, acceptor, clock: systemClock, log, metrics },
      () => options,
    );
    await listener.start();
    port = listener.address().port;
    rotate = async () => {
      const next = bundleOf({ ca, server: await mintServer(ca) });
      source.set(next);
      await listener.applyBundle(next);
    };
  } else {
    const generation = await QuicGeneration.start(
      source.current(),
      {
        library: await loadQuicLibrary(),
        log,
        clock: systemClock,
        onHandshakeFailed() {},
        onSession(session) {
          const own = {
            session,
            gate,
            acceptor,
            clock: systemClock,
            onLimited() {},
            onRefused() {},
            onDropped() {},
            onAccepted() {},
            onEnded() {},
          };
          const startedAt = systemClock.monotonic();
          beginQuicOpening(own, options, { remoteAddress: session.remoteAddress, startedAt });
          return true;
        },
      },
      () => ({ ...options, idleTimeoutMs: QUIET_MS, preflightTimeoutMs: 5_000 }),
    );
    port = generation.ports[0]!;
  }
  const edge = await mintEdge(ca, 'edge-1');
  process.on('message', async (question: Question) => {
    if (question === 'rotate') await rotate();
    const { user, system } = process.cpuUsage();
    // What connections hold, not what the engine has not bothered to collect yet.
    if (question === 'collect and tell') globalThis.gc?.();
    const rssKb = process.memoryUsage().rss / 1024;
    process.send!({ cpuMs: (user + system) / 1000, rssKb, received, ended } satisfies Usage);
  });
  process.send!({ port, ca: ca.pem, certificate: edge.pem, key: edge.key } satisfies HubAddress);
}

if (import.meta.filename === process.argv[1]) await serve(process.argv[2] as Mode);
