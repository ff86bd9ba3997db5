/**
 * Small messages beside a large one on a lossy path, QUIC against WebSocket: whole gateway, EdgeClient, real
 * TCP and UDP on one link.
 */
import { once } from 'node:events';
import type { TransportName } from '../src/protocol/listener-names.ts';
import { EdgeClient } from '../src/sdk/edge-client.ts';
import { UdpRelay } from '../test/support/edges/udp-relay.ts';
import { startTestGateway } from '../test/support/fleets/test-gateway.ts';
import { forkInNamespace, HUB_ADDRESS, joinByLink, type LinkOptions, whyNoLink } from './lib/lossy-link.ts';
import { median, percentile } from './lib/process-usage.ts';

const LOSSES = [0, 0.02, 0.05];
const LINK = { delayMs: 10, megabitsPerSecond: 50, queueMs: 50 };
const LARGE = 'x'.repeat(5 * 1024 * 1024);
const SMALL_MESSAGES = 400;
const EVERY_MS = 25;

interface Hub {
  readonly hub: { https: string; websocket: string; quic: string };
  readonly directory: string;
}
interface Figures {
  readonly p50: number;
  readonly p99: number;
  readonly largeMs: number;
}

/**
 * p99 of a small message until its acknowledgement while 5 MiB messages are under way. Aim: QUIC at most a
 * third of WebSocket.
 */
export async function benchLoss(): Promise<void> {
  const problem = whyNoLink();
  if (problem) console.log(`loss               WebSocket NOT RUN: no lossy link for TCP here (${problem})`);
  for (const loss of LOSSES) {
    const [quic, websocket] = problem
      ? [await overRelay(loss)]
      : [await onLink('quic', loss), await onLink('websocket', loss)];
    const show = (name: string, { p50, p99, largeMs }: Figures) =>
      `${name} p50 ${p50.toFixed(0)} p99 ${p99.toFixed(0)} ms (5 MiB in ${(largeMs / 1000).toFixed(1)} s)`;
    const against = websocket
      ? `   ${show('websocket', websocket)}   ratio ${(quic.p99 / websocket.p99).toFixed(2)}   (aim ≤ 0.33)`
      : '';
    console.log(`small beside 5 MiB, ${loss * 100} % loss   ${show('quic', quic)}${against}`);
  }
}

/** One transport on a link of its own, in namespaces of their own. */
async function onLink(transport: TransportName, loss: number): Promise<Figures> {
  const child = forkInNamespace(
    import.meta.filename,
    ['link', transport, String(loss)],
    ['--map-root-user', '--net'],
  );
  const [figures] = (await Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(() => Promise.reject(new Error('the lossy link failed'))),
  ])) as [Figures];
  child.kill();
  return figures;
}

async function overRelay(loss: number): Promise<Figures> {
  await using gateway = await startTestGateway({ settings: { 'quic.enabled': 'true' } });
  await using relay = await UdpRelay.start({
    targetPort: gateway.port('quic'),
    loss,
    delayMs: LINK.delayMs,
  });
  const options = gateway.edgeOptions('bench');
  const token = await gateway.nodeToken('bench');
  const hub = { ...options.hub, quic: `127.0.0.1:${relay.port}` };
  await using client = await EdgeClient.join({ ...options, hub, token, transport: 'quic' });
  return measure(client);
}

async function measure(client: EdgeClient): Promise<Figures> {
  await client.connect();
  let isOver = false;
  const larges: number[] = [];
  const large = (async () => {
    while (!isOver) {
      const started = performance.now();
      await client.send({ resource: 'default/configmap/large', operation: 'update', content: LARGE });
      larges.push(performance.now() - started);
    }
  })();
  const times: number[] = [];
  const under: Promise<void>[] = [];
  for (let index = 0; index < SMALL_MESSAGES; index++) {
    const started = performance.now();
    const sent = client.send({
      resource: `default/podstatus/p-${index % 10}`,
      operation: 'update',
      content: 'x'.repeat(200),
    });
    under.push(sent.then(() => void times.push(performance.now() - started)));
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
  await Promise.all(under);
  isOver = true;
  await large;
  return { p50: median(times), p99: percentile(times, 0.99), largeMs: median(larges) };
}

async function link([transport, loss]: string[]): Promise<void> {
  const options: LinkOptions = { ...LINK, loss: Number(loss) };
  const { hub, edge } = await joinByLink(import.meta.filename, options);
  process.once('SIGTERM', () => {
    hub.kill();
    edge.kill();
    process.exit(0);
  });
  hub.send('start');
  const [addresses] = (await once(hub, 'message')) as [Hub];
  edge.send({ ...addresses, transport });
  const [figures] = (await once(edge, 'message')) as [Figures];
  process.send!(figures);
}

async function hub(): Promise<void> {
  process.send!('here');
  await once(process, 'message');
  const anywhere = { 'https.host': '0.0.0.0', 'websocket.host': '0.0.0.0', 'quic.host': '0.0.0.0' };
  const gateway = await startTestGateway({
    settings: {
      ...anywhere,
      'quic.enabled': 'true',
      'advertise.addresses': `${HUB_ADDRESS},localhost,127.0.0.1`,
    },
  });
  process.once('SIGTERM', () => void gateway[Symbol.asyncDispose]().then(() => process.exit(0)));
  const at = (name: 'https' | 'websocket' | 'quic') => `${HUB_ADDRESS}:${gateway.port(name)}`;
  process.send!({
    hub: { https: at('https'), websocket: at('websocket'), quic: at('quic') },
    token: await gateway.nodeToken('bench'),
    directory: gateway.edgeOptions('bench').directory,
  });
}

async function edge(): Promise<void> {
  process.send!('here');
  const [{ hub, token, directory, transport }] = (await once(process, 'message')) as [
    Hub & { token: string; transport: TransportName },
  ];
  const client = await EdgeClient.join({ hub, node: 'bench', directory, token, transport });
  client.on('error', (error) => console.error(error.message));
  process.send!(await measure(client));
}

if (import.meta.filename === process.argv[1]) {
  const [role, ...args] = process.argv.slice(2);
  if (role === 'link') await link(args);
  else if (role === 'hub') await hub();
  else if (role === 'edge') await edge();
}
