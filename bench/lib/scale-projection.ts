/** One size, measured. Memory in MiB, times in milliseconds, CPU in microseconds a node or message. */
export interface ScalePoint {
  readonly nodes: number;
  /** Heap and buffers that the sessions added to their replica. */
  readonly replicaHeapMib: number;
  readonly replicaResidentMib: number;
  readonly natsMib: number;
  readonly subscriptions: number;
  readonly consumers: number;
  /** Writes to the bucket of owners while all nodes joined at once. */
  readonly kvWrites: number;
  readonly kvBytes: number;
  readonly joinMs: number;
  readonly joinCpuUs: number;
  readonly natsJoinCpuUs: number;
  /** CPU of another replica that hears of a node's coming. */
  readonly foreignCpuUs: number;
  /** Per node that is nowhere, with one message waiting, in a replica that did not send it. */
  readonly offlineHeapBytes: number;
  /** The same in the replica through which the message was sent: it waits to tell the outcome. */
  readonly offlineSenderBytes: number;
  readonly offlineStreamBytes: number;
  readonly offlineNatsBytes: number;
  readonly offlineMs: number;
  readonly upstreamPerSecond: number;
  readonly upstreamCpuUs: number;
  readonly natsUpstreamCpuUs: number;
}

export const FLEET = { nodes: 100_000, replicas: 5 } as const;
/** KubeEdge's edged reports a node's status every 10 s by default (`nodeStatusUpdateFrequency`). */
const STATUS_EVERY_S = 10;
/** Aim: everybody is back within this time after the whole fleet was away. */
const JOIN_WITHIN_S = 60;
/** Of a 4 GiB machine's replica and NATS server, each. */
const MEMORY_MIB = 4096;
/** One full handshake with upgrade, CPU of a replica, microseconds (`npm run bench -- connects`). */
const HANDSHAKE_US = 1_500;

export interface Projection {
  readonly replicaHeapMib: number;
  readonly natsMib: number;
  readonly subscriptions: number;
  readonly kvWrites: number;
  readonly kvMib: number;
  readonly joinS: number;
  /** What is used of each thing that can run out, 1 = all of it; the greatest first. */
  readonly loads: readonly { readonly what: string; readonly used: number; readonly how: string }[];
}

/**
 * Straight on from the last two sizes; what a replica holds grows with its own nodes, what NATS holds with
 * all.
 */
export function project(points: readonly ScalePoint[]): Projection {
  const { nodes, replicas } = FLEET;
  const own = nodes / replicas;
  const last = points.at(-1)!;
  const at = (value: (point: ScalePoint) => number, size: number) => extend(points, value, size);
  const natsMib = at((point) => point.natsMib, nodes);
  const joinsPerSecond = (last.nodes / last.joinMs) * 1000;
  const perSecond = nodes / STATUS_EVERY_S;
  const wanted = nodes / JOIN_WITHIN_S;
  const replicaJoinUs = HANDSHAKE_US + last.joinCpuUs + (replicas - 1) * last.foreignCpuUs;
  const heap = at((point) => point.replicaHeapMib, own);
  const percent = (part: number) => `${(part * 100).toFixed(0)} %`;
  const loads = [
    {
      what: 'upstream messages through the one stream',
      used: perSecond / last.upstreamPerSecond,
      how: `${perSecond.toLocaleString('en')} a second (a status each ${STATUS_EVERY_S} s) of ${Math.round(last.upstreamPerSecond).toLocaleString('en')} that one replica got through one nats-server here`,
    },
    {
      what: 'CPU of nats-server for upstream messages',
      used: (perSecond * last.natsUpstreamCpuUs) / 1e6,
      how: `${percent((perSecond * last.natsUpstreamCpuUs) / 1e6)} of one core, one copy`,
    },
    {
      what: 'CPU of a replica for upstream messages',
      used: ((perSecond / replicas) * last.upstreamCpuUs) / 1e6,
      how: `${percent(((perSecond / replicas) * last.upstreamCpuUs) / 1e6)} of its core, transport not counted`,
    },
    {
      what: `claims, all nodes within ${JOIN_WITHIN_S} s`,
      used: wanted / joinsPerSecond,
      how: `${Math.round(wanted).toLocaleString('en')} a second of ${Math.round(joinsPerSecond).toLocaleString('en')}`,
    },
    {
      what: `CPU of a replica, all nodes within ${JOIN_WITHIN_S} s`,
      used: ((wanted / replicas) * replicaJoinUs) / 1e6,
      how: `handshake ${HANDSHAKE_US} µs, claim ${last.joinCpuUs.toFixed(0)} µs, ${replicas - 1} × ${last.foreignCpuUs.toFixed(1)} µs for the nodes of the others`,
    },
    {
      what: 'memory of nats-server',
      used: natsMib / MEMORY_MIB,
      how: `${natsMib.toFixed(0)} MiB of ${MEMORY_MIB}`,
    },
    {
      what: 'memory of a replica',
      used: (heap + (own * 60) / 1024) / MEMORY_MIB,
      how: `${heap.toFixed(0)} MiB for claims and queues, 60 KB a session for its socket, of ${MEMORY_MIB} MiB`,
    },
  ];
  return {
    replicaHeapMib: heap,
    natsMib,
    subscriptions: at((point) => point.subscriptions, nodes),
    kvWrites: at((point) => point.kvWrites, nodes),
    kvMib: at((point) => point.kvBytes, nodes) / 1024 / 1024,
    joinS: nodes / joinsPerSecond,
    loads: loads.toSorted((a, b) => b.used - a.used),
  };
}

function extend(points: readonly ScalePoint[], value: (point: ScalePoint) => number, size: number): number {
  const [a, b] = points.slice(-2) as [ScalePoint, ScalePoint];
  const slope = (value(b) - value(a)) / (b.nodes - a.nodes);
  return value(b) + slope * (size - b.nodes);
}

/** Markdown of what was measured and what follows. */
export function tables(points: readonly ScalePoint[], { load }: { load: number }): string {
  const projected = project(points);
  const row = (what: string, value: (point: ScalePoint) => string, last: string) =>
    `| ${what} | ${points.map(value).join(' | ')} | ${last} |`;
  const sizes = points.map(({ nodes }) => nodes.toLocaleString('en'));
  const own = FLEET.nodes / FLEET.replicas;
  const first = projected.loads[0]!;
  return [
    `Measured on two shared cores with a load of ${load.toFixed(1)} before the run, one nats-server, one copy of everything.`,
    '',
    `| sessions on one replica | ${sizes.join(' | ')} | ${FLEET.nodes.toLocaleString('en')} on ${FLEET.replicas} (computed) |`,
    `| --- | ${'---: | '.repeat(points.length + 1)}`.trimEnd(),
    row(
      'memory they add to their replica, MiB',
      (point) => point.replicaHeapMib.toFixed(1),
      `${projected.replicaHeapMib.toFixed(0)} each`,
    ),
    row('memory of nats-server, MiB', (point) => point.natsMib.toFixed(0), projected.natsMib.toFixed(0)),
    row(
      'subscriptions',
      (point) => point.subscriptions.toLocaleString('en'),
      Math.round(projected.subscriptions).toLocaleString('en'),
    ),
    row('JetStream consumers', (point) => String(point.consumers), 'by replicas and programs, not nodes'),
    row(
      'writes to the bucket of owners, all join',
      (point) => point.kvWrites.toLocaleString('en'),
      Math.round(projected.kvWrites).toLocaleString('en'),
    ),
    row(
      'size of the bucket, MiB',
      (point) => (point.kvBytes / 1024 / 1024).toFixed(2),
      projected.kvMib.toFixed(1),
    ),
    row('all claims made, s', (point) => (point.joinMs / 1000).toFixed(2), projected.joinS.toFixed(0)),
    row('CPU a claim, replica, µs', (point) => point.joinCpuUs.toFixed(0), ''),
    row('CPU a claim, nats-server, µs', (point) => point.natsJoinCpuUs.toFixed(0), ''),
    row('CPU for a node of another replica, µs', (point) => point.foreignCpuUs.toFixed(1), ''),
    row('heap of a replica for an offline node, bytes', (point) => point.offlineHeapBytes.toFixed(0), ''),
    row('the same where its message was sent', (point) => point.offlineSenderBytes.toFixed(0), ''),
    row('JetStream for its one message, bytes', (point) => point.offlineStreamBytes.toFixed(0), ''),
    row('nats-server memory for it, bytes', (point) => point.offlineNatsBytes.toFixed(0), ''),
    row(
      'upstream messages a second, one replica',
      (point) => Math.round(point.upstreamPerSecond).toLocaleString('en'),
      '',
    ),
    row('CPU an upstream message, replica, µs', (point) => point.upstreamCpuUs.toFixed(0), ''),
    row('CPU an upstream message, nats-server, µs', (point) => point.natsUpstreamCpuUs.toFixed(0), ''),
    '',
    `With ${FLEET.nodes.toLocaleString('en')} nodes, ${own.toLocaleString('en')} a replica, this much is used of what can run out:`,
    '',
    '| what | used | how |',
    '| --- | ---: | --- |',
    ...projected.loads.map(({ what, used, how }) => `| ${what} | ${(used * 100).toFixed(0)} % | ${how} |`),
    '',
    `**What breaks first: ${first.what}**, at about ${Math.round(FLEET.nodes / first.used / 1000).toLocaleString('en')},000 nodes on this machine.`,
  ].join('\n');
}
