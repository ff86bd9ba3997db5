import { expect, test } from 'vitest';
import { SallyportError } from '../../../src/core/errors.ts';
import { silentLogger } from '../../../src/core/log.ts';
import type { TransportName } from '../../../src/protocol/listener-names.ts';
import { AutoTransport } from '../../../src/sdk/transports/auto-transport.ts';
import { createTransport } from '../../../src/sdk/transports/create-transport.ts';
import {
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

/** A transport whose network can be cut. */
class ScriptedTransport implements EdgeTransport {
  readonly name: TransportName;
  failure: Error | undefined;
  readonly timeouts: number[] = [];

  constructor(name: TransportName) {
    this.name = name;
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

function setUp() {
  const clock = new ManualClock();
  const quic = new ScriptedTransport('quic');
  const websocket = new ScriptedTransport('websocket');
  const auto = new AutoTransport(
    { clock, logger: silentLogger, candidates: [quic, websocket] },
    { avoidForMs: 60_000, probeTimeoutMs: 3_000 },
  );
  const connect = async () => (await auto.connect(credentials, options)).transport;
  return { clock, quic, websocket, connect };
}

test('takes the best transport that gets through, giving each but the last only a short time', async () => {
  const { quic, websocket, connect } = setUp();
  expect(await connect()).toBe('quic');
  quic.failure = blocked();
  expect(await connect()).toBe('websocket');
  expect(quic.timeouts).toEqual([3_000, 3_000]);
  expect(websocket.timeouts).toEqual([15_000]);
});

test('remembers for a while that UDP is blocked, then tries it again', async () => {
  const { clock, quic, connect } = setUp();
  quic.failure = blocked();
  await connect();
  quic.failure = undefined;
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
    createTransport(components, { hub: { https: 'hub:1' }, transport: 'websocket', heartbeatMs: 1 }),
  ).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
});
