/**
 * QUIC, steered (the listener as it runs) against direct (the same server code on a port of its own, without
 * steering). Server and clients are processes of their own; CPU is the server's.
 */
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../src/core/clock.ts';
import { silentLogger } from '../src/core/log.ts';
import { createMetrics } from '../src/core/metrics.ts';
import { PeerGate } from '../src/identity/peer-gate.ts';
import { QuicGeneration } from '../src/listeners/quic/generation.ts';
import { loadQuicLibrary } from '../src/listeners/quic/native.ts';
import { QUIC_DEFAULTS, type QuicListenerOptions } from '../src/listeners/quic/options.ts';
import { QuicListener } from '../src/listeners/quic/quic-listener.ts';
import { beginQuicOpening } from '../src/listeners/quic/quic-opening.ts';
import { DEFAULT_JSON_LIMITS } from '../src/protocol/json-scan.ts';
import { createMessage } from '../src/protocol/message.ts';
import { QuicTransport } from '../src/sdk/transports/quic-transport.ts';
import { RecordingAcceptor, TestEdge } from '../test/support/edges/quic-rig.ts';
import { bundleOf, FixedSource } from '../test/support/pki/fixed-source.ts';
import { mintCa, mintEdge, mintServer } from '../test/support/pki/pki.ts';
import { forkInNamespace, whyNoNamespace } from './lib/lossy-link.ts';

type Mode = 'steered' | 'direct';
interface Usage {
  readonly cpuMs: number;
  readonly rssKb: number;
  readonly received: number;
}

const options: QuicListenerOptions = {
  ...QUIC_DEFAULTS,
  host: '0.0.0.0',
  port: 0,
  epoch: 'bench',
  keepaliveTimeoutMs: 60_000,
  ...DEFAULT_JSON_LIMITS,
  maxMessageBytes: 16 * 1024 * 1024,
  maxPendingUpstream: 64,
  handshakeTimeoutMs: 10_000,
  requestTimeoutMs: 10_000,
  writeTimeoutMs: 30_000,
  connections: 10_000,
  connectionsPerIp: 10_000,
  handshakes: 256,
};

async function serve(mode: Mode): Promise<void> {
  const ca = await mintCa();
  const source = new FixedSource(bundleOf({ ca, server: await mintServer(ca) }));
  const acceptor = new RecordingAcceptor();
  let received = 0;
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
      onClose() {},
    });
  };
  const gate = new PeerGate({ trust: () => source.current().clientCAs, clock: systemClock }, () => ({
    allowLegacy: false,
    legacyNodes: {},
  }));
  const log = silentLogger;
  let port: number;
  if (mode === 'steered') {
    const metrics = createMetrics({ process: false });
    const listener = new QuicListener(
      { source, gate, acceptor, clock: systemClock, log, metrics },
      () => options,
    );
    await listener.start();
    port = listener.address().port;
  } else {
    const generation = await QuicGeneration.start(
      source.current(),
      {
        library: await loadQuicLibrary(),
        log,
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
        },
      },
      { idleTimeoutMs: 60_000, connections: 10_000, preflightTimeoutMs: 5_000 },
    );
    port = generation.port;
  }
  const edge = await mintEdge(ca, 'edge-1');
  process.on('message', (question) => {
    const { user, system } = process.cpuUsage();
    // What connections hold, not what the engine has not bothered to collect yet.
    if (question === 'collect and tell') globalThis.gc?.();
    process.send!({ cpuMs: (user + system) / 1000, rssKb: process.memoryUsage().rss / 1024, received });
  });
  process.send!({ port, ca: ca.pem, cert: edge.pem, key: edge.key });
}

async function startServer(mode: Mode) {
  const child = fork(import.meta.filename, ['serve', mode], { execArgv: ['--expose-gc'] });
  const next = <T>() =>
    new Promise<T>((resolve) => child.once('message', (message) => resolve(message as T)));
  const { port, ca, cert, key } = await next<{ port: number; ca: string; cert: string; key: string }>();
  return {
    port,
    usage: (question: 'tell' | 'collect and tell' = 'tell') => {
      const answer = next<Usage>();
      child.send(question);
      return answer;
    },
    async connect() {
      const transport = new QuicTransport(
        { clock: systemClock, logger: silentLogger },
        { address: `127.0.0.1:${port}` },
      );
      const credentials = { node: 'edge-1', ca, certificate: cert, key };
      const link = await transport.connect(credentials, {
        projectId: 'p',
        agent: 'bench/1',
        maxMessageBytes: 16 * 1024 * 1024,
        connectTimeoutMs: 20_000,
        writeTimeoutMs: 60_000,
        signal: new AbortController().signal,
      });
      return new TestEdge(link);
    },
    stop: () => child.kill(),
  };
}

const make = (operation: string, content: unknown) =>
  createMessage({ source: 'edged', group: 'resource', operation, resource: 'default/pod/x' }, content, {
    now: Date.now(),
  });

async function ping(edge: TestEdge): Promise<void> {
  const message = make('echo', 'x'.repeat(200));
  await edge.link.send(message);
  await edge.reply(message.header.msg_id);
  edge.messages.length = 0;
}

const WARM_UP = 100;
/** For what was needed in passing to be given back. */
const SETTLE_MS = 1_000;

async function measure(mode: Mode, { connections = 400, pings = 1_000, bulk = 20_000 } = {}) {
  const server = await startServer(mode);
  const edges: TestEdge[] = [];
  for (let i = 0; i < WARM_UP; i++) edges.push(await server.connect());
  await sleep(SETTLE_MS);
  const before = await server.usage('collect and tell');
  const started = await server.usage();
  for (let i = 0; i < connections; i++) edges.push(await server.connect());
  const connected = await server.usage();
  await sleep(SETTLE_MS);
  await server.usage('collect and tell');
  const idle = await server.usage();
  for (let i = 0; i < pings; i++) await ping(edges[0]!);
  const pinged = await server.usage();
  const bulkFrom = performance.now();
  for (let i = 0; i < bulk; i++) {
    const sent = edges[0]!.link.send(make('update', 'x'.repeat(200)));
    if (i % 100 === 0) await sent;
  }
  while ((await server.usage()).received < pinged.received + bulk)
    await new Promise((resolve) => setTimeout(resolve, 10));
  const seconds = (performance.now() - bulkFrom) / 1000;
  server.stop();
  return {
    'handshake, ms of CPU': (connected.cpuMs - started.cpuMs) / connections,
    'idle connection, KB': (idle.rssKb - before.rssKb) / connections,
    'ping-pong, µs of CPU': ((pinged.cpuMs - idle.cpuMs) / pings) * 1000,
    'bulk, messages/s': bulk / seconds,
  };
}

const AIMS: Readonly<Partial<Record<keyof Awaited<ReturnType<typeof measure>>, string>>> = {
  'handshake, ms of CPU': 'aim: ratio ≤ 2.50',
  'idle connection, KB': 'aim: steered ≤ 100 KB',
};

/**
 * What our steering costs. Aims: a handshake at most 2.5 × direct, an idle connection at most 100 KB. In a
 * namespace of its own, with a loopback that carries as much as Ethernet: on the usual one the client spends
 * thirty datagrams on finding out how much it carries.
 */
export async function benchQuic(): Promise<void> {
  const problem = whyNoNamespace();
  if (problem) {
    console.log(`quic: on a loopback of 64 KB, where handshakes cost more: no namespace here (${problem})`);
    await compare();
    return;
  }
  const child = forkInNamespace(import.meta.filename, ['compare'], ['--map-root-user', '--net']);
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error('the comparison of QUIC failed');
}

async function compare(): Promise<void> {
  const direct = await measure('direct');
  const steered = await measure('steered');
  for (const [what, value] of Object.entries(direct) as [keyof typeof direct, number][])
    console.log(
      `quic: ${what.padEnd(20)} direct ${value.toFixed(2)}   steered ${steered[what].toFixed(2)}   ratio ${(steered[what] / value).toFixed(2)}   ${AIMS[what] ? `(${AIMS[what]})` : ''}`.trimEnd(),
    );
}

if (import.meta.filename === process.argv[1]) {
  const [role, mode] = process.argv.slice(2);
  if (role === 'serve') await serve(mode as Mode);
  else {
    execFileSync('ip', ['link', 'set', 'lo', 'up', 'mtu', '1500']);
    await compare();
    process.exit(0);
  }
}
