/**
 * A replica without listeners: the real bus, the real ownership, and sessions that are nothing but their
 * claim and their queue. Started with `fork` and `--expose-gc`; answers each {@link ScaleOrder} with a {@link
 * ScaleUsage}.
 */
import { openBus } from '../../src/bus/open-bus.ts';
import { LiveConfig } from '../../src/config/live-config.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { DownstreamConsumer } from '../../src/contracts/message-bus.ts';
import type { Claim, NodeOwnership } from '../../src/contracts/node-ownership.ts';
import { systemClock } from '../../src/core/clock.ts';
import { silentLogger } from '../../src/core/log.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import { Namesakes } from '../../src/fleet/namesakes.ts';
import { composeFleet } from '../../src/gateway/fleet.ts';
import { isAcknowledged } from '../../src/hub/acknowledgement-policy.ts';
import { createMessage } from '../../src/protocol/message.ts';

export type ScaleOrder =
  | { readonly what: 'usage' }
  /** Sessions of the first `count` nodes begin here. */
  | { readonly what: 'join'; readonly count: number }
  /** One message for each of `count` nodes that are nowhere. */
  | { readonly what: 'leaveMessages'; readonly count: number }
  /** Messages of edges, 256 bytes, as many at once as the bus likes. */
  | { readonly what: 'publish'; readonly count: number };

export interface ScaleUsage {
  /** Of the order, milliseconds. */
  readonly tookMs: number;
  readonly cpuMs: number;
  readonly heapBytes: number;
  readonly residentBytes: number;
}

/** Sessions that answer at once. */
const consumer: DownstreamConsumer = { window: 16, deliver: async () => ({ kind: 'acknowledged' }) };
const CONCURRENT = 512;

async function begin(server: string, replica: string): Promise<void> {
  const sources = {
    flags: { 'bus.kind': 'nats', 'bus.nats.servers': server, 'bus.nats.limits.upstreamMessages': '200000' },
  };
  const shared = { clock: systemClock, log: silentLogger, metrics: createMetrics() };
  const config = new LiveConfig({ log: silentLogger }, loadConfig(sources), sources);
  const { bus, connection, components } = openBus({ ...shared, isAcknowledged }, () => config.current, {
    replica,
  });
  const namesakes = new Namesakes(shared, { replica });
  const fleet = composeFleet({ ...shared, namesakes, config, bus, connection }, { replica });
  const { signal } = new AbortController();
  for (const component of [...components, ...fleet.components]) await component.start?.(signal);
  while (fleet.ownership.problem() !== undefined || bus.problem() !== undefined)
    await new Promise((resolve) => setTimeout(resolve, 20));

  const claims: Claim[] = [];
  const join = (node: string) => hold(fleet.ownership, node, () => bus.attach(node, consumer));
  const work: Record<ScaleOrder['what'], (count: number) => Promise<void>> = {
    usage: async () => {},
    join: async (count) => {
      claims.push(...(await Promise.all(Array.from({ length: count }, (_, index) => join(`node-${index}`)))));
    },
    leaveMessages: (count) =>
      each(count, async (index) => {
        const message = messageAbout(`default/configmap/${index}`, 'edgecontroller');
        await bus.post({ node: `offline-${index}`, message, acknowledged: true });
      }),
    publish: (count) =>
      each(count, async (index) => {
        const message = messageAbout('default/podstatus/p', 'edged');
        const node = `node-${index % 1000}`;
        await bus.publish({
          type: 'message',
          direction: 'upstream',
          node,
          sessionId: 's',
          message,
          bytes: 256,
        });
      }),
  };
  process.on('message', async (order: ScaleOrder) => {
    const before = { at: performance.now(), cpu: process.cpuUsage() };
    await work[order.what]('count' in order ? order.count : 0);
    const tookMs = performance.now() - before.at;
    const { user, system } = process.cpuUsage(before.cpu);
    (globalThis as { gc?: () => void }).gc?.();
    const { heapUsed, external, rss } = process.memoryUsage();
    const usage = {
      tookMs,
      cpuMs: (user + system) / 1000,
      heapBytes: heapUsed + external,
      residentBytes: rss,
    };
    process.send!(usage satisfies ScaleUsage);
  });
  process.send!('here');
}

/** Resolves when the node is this replica's. */
function hold(ownership: NodeOwnership, node: string, attach: () => void): Promise<Claim> {
  return new Promise((resolve) => {
    const request = {
      node,
      sessionId: crypto.randomUUID(),
      transport: 'websocket',
      since: Date.now(),
    } as const;
    const claim = ownership.claim(request, {
      held: () => {
        attach();
        setImmediate(() => resolve(claim));
      },
      took: () => {},
      suspended: () => {},
      lost: () => {},
    });
  });
}

async function each(count: number, task: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: CONCURRENT }, async () => {
      for (let index = next++; index < count; index = next++) await task(index);
    }),
  );
}

function messageAbout(resource: string, source: string) {
  return createMessage({ source, group: 'resource', operation: 'update', resource }, 'x'.repeat(80), {
    now: Date.now(),
  });
}

process.once('disconnect', () => process.exit(0));
void begin(process.argv[2]!, process.argv[3]!);
