import { TLSSocket } from 'node:tls';
import { queryObjects, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Clock, systemClock, type Timer } from '../../src/core/clock.ts';
import { Session } from '../../src/hub/session.ts';
import { eventually } from '../support/eventually.ts';
import { listNodes } from '../support/fleets/gateway-views.ts';
import { readCa } from '../support/fleets/secret-files.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';
import { mintEdge } from '../support/pki/pki.ts';
import type { Edge } from './attacker.ts';
import { attack } from './attacks.ts';

/** What a gateway holds when everybody has gone. */
export interface Held {
  readonly heapMb: number;
  /** What keeps the event loop busy: sockets, servers, timers. */
  readonly resources: number;
  /** Of the gateway's clock, those that keep nothing alive too. */
  readonly timers: number;
}

export interface LeakReport {
  /** After each round. */
  readonly held: readonly Held[];
  /** Objects that are alive at the end; a count costs seconds. */
  readonly sessions: number;
  readonly sockets: number;
}

export interface LeakOptions {
  /** In each round. The first one fills caches and histories, which are bounded. */
  readonly connects: number;
  readonly nodes: number;
  readonly rotations: number;
  readonly rounds: number;
  readonly say?: (text: string) => void;
}

/** Counts the timers that are armed. */
class CountingClock implements Clock {
  readonly #armed = new Set<object>();
  readonly now = systemClock.now;
  readonly monotonic = systemClock.monotonic;

  get armed(): number {
    return this.#armed.size;
  }

  setTimeout(fn: () => void, delayMs: number): Timer {
    return this.#keep((done) =>
      systemClock.setTimeout(() => {
        done();
        fn();
      }, delayMs),
    );
  }

  setInterval(fn: () => void, periodMs: number): Timer {
    return this.#keep(() => systemClock.setInterval(fn, periodMs));
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    const entry = {};
    this.#armed.add(entry);
    return systemClock.sleep(delayMs, signal).finally(() => this.#armed.delete(entry));
  }

  #keep(arm: (done: () => void) => Timer): Timer {
    const entry = {};
    this.#armed.add(entry);
    const done = () => void this.#armed.delete(entry);
    const timer = arm(done);
    return {
      cancel: () => {
        done();
        timer.cancel();
      },
    };
  }
}

/** The same nodes come and go, and certificates rotate, again and again; then what is left of them. */
export async function runLeaks(options: LeakOptions): Promise<LeakReport> {
  const { connects, nodes, rotations, rounds, say = () => {} } = options;
  const clock = new CountingClock();
  await using hub = await startTestGateway({ clock, settings: { 'limits.drainMs': '0' } });
  const edges = await mintAll(hub.folder, nodes);
  const held: Held[] = [];
  for (let round = 0; round < rounds; round++) {
    const work = attack('connects', { port: hub.port('websocket'), edges, count: connects });
    for (let n = 0; n < rotations; n++) await hub.admin.post('/api/v1/certificates/hub/rotate');
    const saw = await work;
    await eventually('everybody has gone', async () => (await listNodes(hub)).length === 0);
    const now = await whatIsHeld(clock);
    held.push(now);
    say(`${saw}, ${rotations} rotations: ${JSON.stringify(now)}`);
  }
  return { held, sessions: alive(Session), sockets: alive(TLSSocket) };
}

/** With one key: making ten thousand would take longer than the rest. */
async function mintAll(folder: string, count: number): Promise<Edge[]> {
  const ca = readCa(folder);
  const { key } = await mintEdge(ca, 'first');
  const edges: Edge[] = [];
  for (let n = 0; n < count; n++) {
    const node = `guest-${n}`;
    edges.push({ node, ca: ca.pem, cert: (await mintEdge(ca, node, { key })).pem, key });
  }
  return edges;
}

/** Of a few looks the least: what is on its way out is no leak. */
async function whatIsHeld(clock: CountingClock): Promise<Held> {
  const looks: Held[] = [];
  for (let look = 0; look < 5; look++) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    collectGarbage();
    looks.push({
      heapMb: Number((process.memoryUsage().heapUsed / 2 ** 20).toFixed(2)),
      resources: process.getActiveResourcesInfo().length,
      timers: clock.armed,
    });
  }
  const least = (of: keyof Held) => Math.min(...looks.map((look) => look[of]));
  return Object.fromEntries(
    Object.keys(looks[0]!).map((key) => [key, least(key as keyof Held)]),
  ) as unknown as Held;
}

function alive(kind: abstract new (...given: never[]) => object): number {
  return queryObjects(kind as unknown as () => void, { format: 'count' }) as unknown as number;
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (globalThis.gc ?? (runInNewContext('gc') as () => void))();
}

/** What has grown although it must not, in words. The first round fills what is bounded. */
export function leaksOf(
  { held, sessions, sockets }: LeakReport,
  { connects }: Pick<LeakOptions, 'connects'>,
): string[] {
  const [first, last] = [held[1]!, held.at(-1)!];
  const found: string[] = [];
  // A session that stays keeps more than a kilobyte.
  const allowedMb = 2 + ((held.length - 2) * connects * 200) / 2 ** 20;
  if (last.heapMb > first.heapMb + allowedMb)
    found.push(`the heap: ${first.heapMb} MB, then ${last.heapMb} MB`);
  if (last.resources > first.resources) found.push(`resources: ${first.resources}, then ${last.resources}`);
  // Some are armed now and then, by a store or a check that is at work.
  if (last.timers > first.timers + 5) found.push(`timers: ${first.timers}, then ${last.timers}`);
  if (sessions > 0) found.push(`sessions that have ended are alive: ${sessions}`);
  if (sockets > 0) found.push(`sockets that are closed are alive: ${sockets}`);
  return found;
}
