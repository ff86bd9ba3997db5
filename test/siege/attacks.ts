import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '../../src/core/errors.ts';
import { CredentialStore } from '../../src/sdk/credential-store.ts';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { LARGEST_SHAPES } from '../support/edges/largest-messages.ts';
import { UdpRelay } from '../support/edges/udp-relay.ts';
import { mintEdge } from '../support/pki/pki.ts';
import type { Edge, OrderName, Orders } from './attacker.ts';
import type { BesiegedGateway } from './besieged-gateway.ts';
import type { Noticed } from './good-clients.ts';

export interface Attack {
  readonly name: string;
  /** Resolves with what the attacker saw when it is over. */
  run(gateway: BesiegedGateway, size: Size): Promise<string>;
  /** What requirements let good clients notice of it, milliseconds; three times as wide. */
  readonly bounds?: Partial<Record<keyof Noticed, number>>;
  /** It uses up the file descriptors: then new nodes may be told to come again. */
  readonly turnsAway?: boolean;
}

export interface Size {
  /** How long what goes on for a while goes on, seconds. */
  readonly seconds: number;
  readonly connects: number;
  /** Of each shape. */
  readonly largest: number;
}

/** A minute and a half of all of them in `.ci/run`; half an hour and more with `npm run siege`. */
export const SIZES = {
  story: { seconds: 4, connects: 1_000, largest: 2 },
  long: { seconds: 20, connects: 5_000, largest: 5 },
} as const satisfies Record<string, Size>;

/**
 * N1: strangers never delay probes or new nodes by more than a second. The median, which a busy machine moves
 * little: before it was fair, a flood held up every one.
 */
const N1 = { probeP50: 3_000, connectP50: 3_000 };
/** N2: nor a node's messages by more than 250 ms; processor time, which is the same on a busy machine. */
const N2 = { messageCpu: 750 };

const halfOpen = (name: string, order: Omit<Orders['halfOpen'], 'ports' | 'seconds'>): Attack => ({
  name,
  bounds: N1,
  turnsAway: order.perSecond > 1_000,
  run: (gateway, { seconds }) =>
    attack('halfOpen', { ...order, seconds, ports: [gateway.port('https'), gateway.port('websocket')] }),
});

/** One after the other, each on the gateway that the ones before have left. */
export const ATTACKS: readonly Attack[] = [
  halfOpen('300 silent connections a second from one address', {
    ...{ perSecond: 300, addresses: 'one', says: 'nothing' },
  }),
  halfOpen('3,000 silent connections a second from many addresses', {
    ...{ perSecond: 3_000, addresses: 'many', says: 'nothing' },
  }),
  halfOpen('300 halves of a TLS hello a second', {
    ...{ perSecond: 300, addresses: 'many', says: 'half a hello' },
  }),
  halfOpen('100 TLS hellos a second and not a word after it', {
    ...{ perSecond: 100, addresses: 'one', says: 'a hello' },
  }),
  ...LARGEST_SHAPES.map(
    ({ what }): Attack => ({
      name: `largest messages: ${what}`,
      bounds: N2,
      run: async (gateway, { largest }) => {
        const [edge] = await mint(gateway, ['hostile']);
        return attack('largest', {
          ...{ port: gateway.port('websocket'), edge: edge!, shape: what, times: largest },
        });
      },
    }),
  ),
  {
    name: 'nodes that do not read',
    run: async (gateway, { seconds }) => {
      const nodes = Array.from({ length: 5 }, (_, n) => `slow-${n}`);
      const edges = await mint(gateway, nodes);
      const content = 'x'.repeat(400_000);
      let taken = 0;
      const feed = async () => {
        for (let n = 0; n < 20; n++)
          for (const node of nodes) {
            const message = { resource: `app/big/${n}`, operation: 'update', content, wait: 'queued' };
            await gateway.admin.post(`/api/v1/nodes/${node}/messages`, message).then(
              () => taken++,
              () => {},
            );
          }
      };
      let fed: Promise<void> | undefined;
      const saw = await attack('slowReaders', { port: gateway.port('websocket'), edges, seconds }, () => {
        fed = feed();
      });
      await fed;
      return `${saw}, ${taken} messages of 400 kB for them`;
    },
  },
  {
    name: 'connects while messages flow',
    run: async (gateway, { connects }) => {
      const edges = await mint(
        gateway,
        Array.from({ length: 100 }, (_, n) => `visitor-${n}`),
      );
      return attack('connects', { port: gateway.port('websocket'), edges, count: connects });
    },
  },
  {
    name: 'the wall clock jumps',
    run: async (gateway, { seconds }) => {
      const second = 1_000;
      const jumps = [60 * second, -20 * 60 * second, 86_400 * second, 0];
      for (const jump of jumps) {
        gateway.setClock(jump);
        await sleep((seconds * second) / jumps.length);
      }
      // And slowly: it gains half of every second, and gives it back.
      for (let n = 0; n <= 20; n++) {
        gateway.setClock((10 - Math.abs(n - 10)) * 100);
        await sleep(100);
      }
      return '+60 s, −20 min, +1 day, back; slewed by 1 s';
    },
  },
  {
    name: 'descriptors run out',
    turnsAway: true,
    run: (gateway, { seconds }) =>
      attack('hold', {
        ...{ ports: [gateway.port('https'), gateway.port('websocket')], sockets: 6_000, seconds },
      }),
  },
  {
    name: 'the disk is full',
    run: async (gateway, { seconds }) => {
      const rotate = () =>
        gateway.admin.post('/api/v1/certificates/hub/rotate').then(
          () => undefined,
          (error: unknown) => describeError(error),
        );
      gateway.setDiskFull(true);
      let rotated = 0;
      try {
        for (let n = 0; n < seconds; n++) {
          if ((await rotate()) === undefined) rotated++;
          await sleep(1_000);
        }
      } finally {
        gateway.setDiskFull(false);
      }
      if (rotated > 0) throw new Error('a certificate was rotated on a full disk');
      const problem = await rotate();
      if (problem !== undefined) throw new Error(`not rotated after the disk was full: ${problem}`);
      return `${seconds} rotations refused, and done when there was room`;
    },
  },
  {
    name: '10,000 forged QUIC datagrams a second',
    bounds: N1,
    run: async (gateway, { seconds }) => {
      const port = gateway.port('quic');
      // A client far away: each of its answers takes 200 ms.
      await using far = await UdpRelay.start({ targetPort: port, delayMs: 100 });
      const [edge] = await mint(gateway, ['far']);
      const came = { at: 0 };
      let coming: Promise<void> | undefined;
      const saw = await attack('forge', { port, perSecond: 10_000, seconds }, () => {
        coming = comeOverQuic(gateway, edge!, far.port).then((ms) => {
          came.at = Math.round(ms);
        });
      });
      await coming;
      return `${saw}; a client 200 ms away came in within ${came.at} ms`;
    },
  },
];

/** @returns how long it took, milliseconds */
async function comeOverQuic(gateway: BesiegedGateway, edge: Edge, port: number): Promise<number> {
  const { node, ca, cert: certificate, key } = edge;
  const hub = { https: `localhost:${gateway.port('https')}`, quic: `127.0.0.1:${port}` };
  const options = gateway.edgeOptions(node, {
    hub,
    transport: 'quic',
    reconnect: { minMs: 100, maxMs: 200 },
  });
  const store = new CredentialStore(options.directory);
  const client = new EdgeClient({ credentials: { node, certificate, key, ca }, store }, options);
  const start = performance.now();
  await client.connect();
  const took = performance.now() - start;
  await client.close();
  return took;
}

async function mint(gateway: BesiegedGateway, nodes: readonly string[]): Promise<Edge[]> {
  const edges: Edge[] = [];
  for (const node of nodes) {
    const { pem: cert, key } = await mintEdge(gateway.ca, node);
    edges.push({ node, ca: gateway.ca.pem, cert, key });
  }
  return edges;
}

export async function attack<N extends OrderName>(
  name: N,
  order: Orders[N],
  onReady: () => void = () => {},
): Promise<string> {
  const attacker = fork(new URL('./attacker.ts', import.meta.url), { execArgv: [] });
  const exited = once(attacker, 'exit');
  try {
    attacker.send({ name, order });
    return await new Promise<string>((resolve, reject) => {
      attacker.on('message', (answer: 'ready' | { saw: string }) =>
        answer === 'ready' ? onReady() : resolve(answer.saw),
      );
      attacker.once('exit', () => reject(new Error(`the attacker "${name}" has ended`)));
    });
  } finally {
    attacker.kill('SIGKILL');
    await exited;
  }
}
