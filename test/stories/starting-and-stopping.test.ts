import { once } from 'node:events';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import { beforeEach, expect, test } from 'vitest';
import { captureLog } from '../support/capture-log.ts';
import { EdgeCoreSocket, goGet, joinAsEdgeCore } from '../support/edges/edgecore.ts';
import { eventually } from '../support/eventually.ts';
import { sallyportProcess, startGatewayProcess } from '../support/fleets/process.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';
import { freePort } from '../support/free-port.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

let base: string;
beforeEach(() => {
  base = temporaryFolder();
});

/** Undefined while nobody answers. */
const probe = (port: number, path: string) => goGet(port, path).catch(() => undefined);
const lastLine = ({ body }: { body: Buffer }) => body.toString().trim();

test('H2, A2: while the store cannot be read /livez is 200 and /readyz 500, nothing is generated; then it becomes ready by itself', async () => {
  const folder = join(base, 'secrets');
  // A link to itself: neither there nor definitely absent, also for root.
  symlinkSync(folder, folder);
  const port = await freePort();
  const { log, records } = captureLog();
  const starting = startTestGateway({ folder, log, settings: { 'https.port': String(port) } });
  await eventually('the probe answers', async () => (await probe(port, '/livez'))?.status === 200);
  const readyz = await goGet(port, '/readyz');
  expect([readyz.status, lastLine(readyz)]).toEqual([500, expect.stringContaining('certificates')]);
  expect((await goGet(port, '/ca.crt')).status).toBe(503);
  await eventually('it was tried more than once', () => {
    const tries = records().filter(({ msg }) => String(msg).startsWith('cannot prepare certificates yet'));
    return tries.length >= 2 && tries.every((line) => JSON.stringify(line).includes('ELOOP'));
  });
  rmSync(folder);
  mkdirSync(folder, { mode: 0o700 });
  await using hub = await starting;
  expect(hub.port('https')).toBe(port);
  expect((await goGet(port, '/readyz')).status).toBe(200);
  expect((await goGet(port, '/livez')).status).toBe(200);
});

test('H2, B7: a CA Secret that is half written while the gateway starts is waited for, not replaced', async () => {
  await using first = await startTestGateway();
  const ca = (await goGet(first.port('https'), '/ca.crt')).body;
  await first.stop();
  const [file, aside] = [join(first.folder, 'casecret.yaml'), join(base, 'casecret.yaml')];
  renameSync(file, aside);
  writeFileSync(file, 'apiVersion: v1\nkind: Secret\nmetadata: {name: casecret}\ndata: {cadata: "MIIB', {
    mode: 0o600,
  });
  const { log, records } = captureLog();
  const starting = startTestGateway({ folder: first.folder, log });
  await eventually('it is tried again', () =>
    records().some(({ msg }) => String(msg).startsWith('cannot prepare certificates yet')),
  );
  renameSync(aside, file);
  await using hub = await starting;
  expect((await goGet(hub.port('https'), '/ca.crt')).body.equals(ca)).toBe(true);
});

test('H2: draining, /readyz fails and says so, /livez does not, and no new session is let in', async () => {
  await using hub = await startTestGateway({
    settings: { 'limits.drainMs': '1500', 'limits.stopTimeoutMs': '8000' },
  });
  const [https, websocket] = [hub.port('https'), hub.port('websocket')];
  const { credentials } = await joinAsEdgeCore(https, {
    node: 'edge-1',
    token: await hub.nodeToken('edge-1'),
  });
  // Enough sessions that the window has some left for a while.
  await EdgeCoreSocket.open(websocket, 'edge-1', credentials);
  const answers: [number | undefined, number | undefined][] = [];
  const sending = hub.admin.post('/api/v1/nodes/edge-1/messages', {
    resource: 'app/x',
    operation: 'update',
    content: 1,
    wait: 'ack',
    timeoutMs: 3_000,
  });
  await eventually('a message waits for its acknowledgement', async () => {
    const { items } = await hub.admin.get<{ items: { unacknowledged: number }[] }>('/api/v1/nodes');
    return items[0]?.unacknowledged === 1;
  });
  const stopped = hub.stop();
  await eventually('it is not ready', async () => {
    answers.push([(await probe(https, '/livez'))?.status, (await probe(https, '/readyz'))?.status]);
    return answers.at(-1)?.[1] === 500;
  });
  expect(lastLine(await goGet(https, '/readyz'))).toMatch(/draining/);
  expect(answers.map(([livez]) => livez)).toEqual(answers.map(() => 200));
  await expect(EdgeCoreSocket.open(websocket, 'edge-1', credentials)).rejects.toThrow();
  await sending.catch(() => {});
  await stopped;
  expect(await probe(https, '/livez')).toBeUndefined();
});

test('H2: probes that connect and close log nothing above debug on any listener', async () => {
  const { log, records } = captureLog();
  await using hub = await startTestGateway({ log });
  await eventually('the start is over', () => records().some(({ msg }) => msg === 'fleet token stored'));
  const before = records().length;
  for (const name of ['https', 'websocket', 'admin'] as const) {
    const plain = connect(hub.port(name), '127.0.0.1');
    await once(plain, 'connect');
    plain.end();
    await once(plain, 'close');
    const secure = tlsConnect({ port: hub.port(name), host: '127.0.0.1', rejectUnauthorized: false });
    await once(secure, 'secureConnect');
    secure.end();
    await once(secure, 'close');
  }
  // Its own line tells that all before it are there.
  await hub.admin.get('/api/v1/info');
  const loud = records()
    .slice(before)
    .filter(({ level }) => level !== 'trace' && level !== 'debug');
  expect(loud).toEqual([]);
});

test('N6: the start warns when the system allows fewer files than limits.connections asks for, and says what to raise', async () => {
  const { log, records } = captureLog();
  await using _ = await startTestGateway({ log, settings: { 'limits.connections': '100000000' } });
  expect(records().filter(({ msg }) => String(msg).includes('ulimit -n'))).toMatchObject([
    { level: 'warn', connections: 100_000_000, openFiles: expect.any(Number) },
  ]);
});

test('E2: SIGTERM stops every timer: the process ends with 0 within 5 s', async () => {
  const gateway = await startGatewayProcess(join(base, 'store'));
  const start = Date.now();
  gateway.child.kill('SIGTERM');
  const [code] = await once(gateway.child, 'exit');
  expect([code, Date.now() - start < 5_000]).toEqual([0, true]);
});

test('E2: a start that fails ends the process, also where the library of QUIC was loaded', async () => {
  await using gateway = await startGatewayProcess(join(base, 'store'));
  const taken = gateway.ready.https.split(':').at(-1);
  const settings = { 'https.port': taken, 'quic.enabled': 'auto', 'secretStore.path': join(base, 'other') };
  const start = Date.now();
  const { code, stderr } = await sallyportProcess([
    'serve',
    ...Object.entries(settings).flatMap(([path, value]) => ['--set', `${path}=${value}`]),
  ]);
  expect([code, stderr]).toEqual([1, expect.stringContaining('LISTEN_FAILED')]);
  expect(Date.now() - start).toBeLessThan(15_000);
});
