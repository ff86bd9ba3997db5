import { setTimeout as realDelay } from 'node:timers/promises';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { KubeApi, type KubeCall } from './kube-api.ts';
import { startKubeGateway } from './kube-gateway.ts';

export interface CallCount {
  /** Verb and object, such as `list casecret` → times. */
  readonly calls: ReadonlyMap<string, number>;
  /** TLS connections opened. */
  readonly connections: number;
  /** What the API sent. */
  readonly bytes: number;
}

const STEP_MS = 5_000;
const BOOKMARK_EVERY_MS = 60_000;
/** In the middle of what the gateway asks for as `timeoutSeconds`. */
const WATCH_ENDS_EVERY_MS = 445_000;

/** Raises every Secret to `toBytes` by an entry that nobody reads. */
function fill(api: KubeApi, toBytes: number): void {
  for (const name of api.secretNames()) {
    const { data, type } = api.stored(name) as unknown as {
      data: Record<string, string>;
      type: string;
    };
    const used = Object.values(data).reduce((sum, value) => sum + Buffer.byteLength(value, 'base64'), 0);
    const filling = Buffer.alloc(Math.max(0, toBytes - used), 'x').toString('base64');
    api.put(name, { type, data: { ...data, filling } });
  }
}

/**
 * What a gateway asks of the API at its start on Secrets that exist, and in a time in which nothing happens,
 * on a clock of ours.
 */
export async function countCalls({
  idleMs,
  fillTo = 0,
}: {
  idleMs: number;
  /** Size that every Secret is raised to, bytes. */
  fillTo?: number;
}): Promise<{ start: CallCount; idle: CallCount }> {
  await using api = await KubeApi.start();
  const before = await startKubeGateway(api);
  while (!api.stored('tokensecret')) await realDelay(5);
  await before[Symbol.asyncDispose]();
  if (fillTo > 0) fill(api, fillTo);
  const clock = new ManualClock(Date.now());
  const taken = beginCount(api);
  const starting = startKubeGateway(api, {
    clock,
    // Steps of the clock must not end a call that the machine is just slow to answer.
    settings: { 'secretStore.requestTimeoutMs': '120000' },
  });
  let isUp = false;
  const up = () => {
    isUp = true;
  };
  starting.then(up, up);
  while (!isUp) await realDelay(5);
  await using _gateway = await starting;
  while (api.watches < 3) await realDelay(5);
  const start = taken();

  const idle = beginCount(api);
  for (let at = STEP_MS; at <= idleMs; at += STEP_MS) {
    await clock.advance(STEP_MS);
    if (at % BOOKMARK_EVERY_MS === 0) api.bookmark();
    if (at % WATCH_ENDS_EVERY_MS === 0) api.endWatches('end');
    await realDelay(8);
  }
  return { start, idle: idle() };
}

function beginCount(api: KubeApi): () => CallCount {
  const [from, connections, bytes] = [api.calls.length, api.connections, api.bytesSent];
  return () => {
    const calls = new Map<string, number>();
    for (const call of api.calls.slice(from)) {
      const key = `${call.verb} ${objectOf(call)}`;
      calls.set(key, (calls.get(key) ?? 0) + 1);
    }
    return { calls, connections: api.connections - connections, bytes: api.bytesSent - bytes };
  };
}

function objectOf({ resource, name, query }: KubeCall): string {
  if (resource !== 'secrets') return resource;
  return name ?? query.get('fieldSelector')?.replace('metadata.name=', '') ?? resource;
}
