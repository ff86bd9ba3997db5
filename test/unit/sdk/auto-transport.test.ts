import { expect, test } from 'vitest';
import { SallyportError } from '../../../src/core/errors.ts';
import { silentLogger } from '../../../src/core/log.ts';
import type { TransportName } from '../../../src/protocol/listener-names.ts';
import { AutoTransport } from '../../../src/sdk/transports/auto-transport.ts';
import { createTransport } from '../../../src/sdk/transports/create-transport.ts';
import {
  type BlockableTransport,
  type ConnectOptions,
  connectRefused,
  type EdgeCredentials,
  type EdgeLink,
  type EdgeTransport,
} from '../../../src/sdk/transports/transport.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';

const credentials: EdgeCredentials = { node: 'edge-1', ca: '', certificate: '', key: '' };
const options: ConnectOptions = {
  projectId: 'p',
  agent: 'a',
  maxMessageBytes: 1024,
  connectTimeoutMs: 15_000,
  writeTimeoutMs: 1000,
  signal: new AbortController().signal,
};

/** A transport whose network can be cut; only QUIC is often blocked. */
class ScriptedTransport implements EdgeTransport {
  readonly name: TransportName;
  readonly blockable?: BlockableTransport;
  failure: Error | undefined;
  readonly timeouts: number[] = [];
  readonly probes: number[] = [];

  constructor(name: TransportName) {
    this.name = name;
    if (name === 'quic') this.blockable = { url: 'quic://hub', probe: (_, options) => this.#probe(options) };
  }

  async #probe({ connectTimeoutMs }: ConnectOptions): Promise<void> {
    this.probes.push(connectTimeoutMs);
    if (this.failure) throw this.failure;
  }

  connect(_: EdgeCredentials, { connectTimeoutMs }: ConnectOptions): Promise<EdgeLink> {
    this.timeouts.push(connectTimeoutMs);
    if (this.failure) return Promise.reject(this.failure);
    const link: EdgeLink = {
      transport: this.name,
      remoteAddress: 'hub',
      receive: () => {},
      send: () => Promise.resolve(),
      close: () => {},
    };
    return Promise.resolve(link);
  }
}

const blocked = () => new SallyportError('CONNECT_FAILED', { url: 'quic://hub', problem: 'no answer' });

/** The memory of a node, which outlives its program. */
class Memory {
  readonly addresses: Set<string>;

  constructor(...addresses: string[]) {
    this.addresses = new Set(addresses);
  }

  has = async (address: string) => this.addresses.has(address);
  add = async (address: string) => void this.addresses.add(address);
  delete = async (address: string) => void this.addresses.delete(address);
}

function setUp(memory = new Memory('quic://hub')) {
  const clock = new ManualClock();
  const quic = new ScriptedTransport('quic');
  const websocket = new ScriptedTransport('websocket');
  const auto = new AutoTransport(
    { clock, logger: silentLogger, memory, candidates: [quic, websocket] },
    { avoidForMs: 60_000, probeTimeoutMs: 3_000 },
  );
  const connect = async () => (await auto.connect(credentials, options)).transport;
  /** Beside a link over WebSocket. */
  const findBetter = async () =>
    auto.findBetter(await websocket.connect(credentials, options), credentials, options);
  return { clock, quic, websocket, memory, auto, connect, findBetter };
}

test('uses QUIC first only where it was seen to work', async () => {
  const { quic, connect } = setUp(new Memory('quic://another'));
  expect(await connect()).toBe('websocket');
  expect(quic.timeouts).toEqual([]);
});

test('looks for QUIC beside a link over WebSocket, with a handshake alone; what connects is remembered', async () => {
  const { quic, memory, auto, connect, findBetter } = setUp(new Memory());
  const better = await findBetter();
  expect(quic).toMatchObject({ probes: [3_000], timeouts: [] });
  // A handshake does not prove that messages pass.
  expect(await connect()).toBe('websocket');
  const link = await better!.connect(credentials, options);
  expect(link.transport).toBe('quic');
  expect(memory.addresses).toEqual(new Set(['quic://hub']));
  expect(await connect()).toBe('quic');
  expect(await auto.findBetter(link, credentials, options)).toBeUndefined();
});

test('does not look for QUIC again for a while after it did not get through', async () => {
  const { clock, quic, findBetter } = setUp(new Memory());
  quic.failure = blocked();
  expect(await findBetter()).toBeUndefined();
  expect(await findBetter()).toBeUndefined();
  expect(quic.probes).toHaveLength(1);
  quic.failure = undefined;
  await clock.advance(60_000);
  expect((await findBetter())!.name).toBe('quic');
});

test('a hub that refuses over QUIC beside a link leaves WebSocket the choice', async () => {
  const { quic, memory, connect, findBetter } = setUp(new Memory());
  const better = await findBetter();
  quic.failure = connectRefused('quic://hub', { word: 'unknown-ca', detail: 'unknown CA' });
  await expect(better!.connect(credentials, options)).rejects.toMatchObject({ code: 'CONNECT_REFUSED' });
  expect(memory.addresses).toEqual(new Set());
  expect(await connect()).toBe('websocket');
});

test('forgets QUIC where it fails, or where its link dies soon', async () => {
  const { memory, auto, connect } = setUp();
  const link = await auto.connect(credentials, options);
  await auto.distrust(link);
  expect(memory.addresses).toEqual(new Set());
  expect(await connect()).toBe('websocket');
  memory.addresses.add('quic://hub');
  const again = setUp(memory);
  again.quic.failure = blocked();
  expect(await again.connect()).toBe('websocket');
  expect(memory.addresses).toEqual(new Set());
});

test('takes the best transport that gets through, giving each but the last only a short time', async () => {
  const { quic, websocket, connect } = setUp();
  expect(await connect()).toBe('quic');
  quic.failure = blocked();
  expect(await connect()).toBe('websocket');
  expect(quic.timeouts).toEqual([3_000, 3_000]);
  expect(websocket.timeouts).toEqual([15_000]);
});

test('leaves QUIC out for a while when it fails, though it works again', async () => {
  const { clock, quic, memory, connect } = setUp();
  quic.failure = blocked();
  await connect();
  quic.failure = undefined;
  memory.addresses.add('quic://hub');
  await clock.advance(59_999);
  expect(await connect()).toBe('websocket');
  expect(quic.timeouts).toHaveLength(1);
  await clock.advance(1);
  expect(await connect()).toBe('quic');
});

test('does not blame a transport when none gets through: the hub is down', async () => {
  const { quic, websocket, connect } = setUp();
  quic.failure = blocked();
  websocket.failure = blocked();
  await expect(connect()).rejects.toMatchObject({ code: 'CONNECT_FAILED' });
  quic.failure = undefined;
  expect(await connect()).toBe('quic');
});

test('uses an avoided transport when it is the only one that works', async () => {
  const { quic, websocket, connect } = setUp();
  quic.failure = blocked();
  await connect();
  quic.failure = undefined;
  websocket.failure = blocked();
  expect(await connect()).toBe('quic');
});

test('a refusal of the hub is not asked for again on another transport', async () => {
  const { quic, websocket, connect } = setUp();
  quic.failure = connectRefused('quic://hub', { word: 'revoked', detail: 'revoked' });
  await expect(connect()).rejects.toMatchObject({ code: 'CONNECT_REFUSED' });
  expect(websocket.timeouts).toEqual([]);
});

test('a transport the hub has no address for is a mistake of the configuration', () => {
  const components = { clock: new ManualClock(), logger: silentLogger };
  expect(() =>
    createTransport(components, {
      hub: { https: 'hub:1' },
      transport: 'websocket',
      heartbeatMs: 1,
      directory: '/nowhere',
    }),
  ).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
});
