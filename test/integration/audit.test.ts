import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { readAudit, verifyAudit } from '../../src/audit/read-audit.ts';
import { CLOSE_REASONS } from '../../src/protocol/close-reasons.ts';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { eventually } from '../support/eventually.ts';
import { sallyport } from '../support/fleets/process.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

let base: string;
let folder: string;
beforeAll(() => {
  base = temporaryFolder();
  folder = join(base, 'audit');
});

const start = (): Promise<TestGateway> =>
  startTestGateway({
    folder: join(base, 'secrets'),
    settings: { 'audit.path': folder, 'hub.replica': 'hub-1' },
  });
const lines = (action: string) => readAudit(folder, { action });

test('P1: from the first start to the stop, everything that was done is in the audit, and no secret', async () => {
  const secrets: string[] = [];
  {
    await using hub = await start();
    const token = await hub.nodeToken('edge-1');
    secrets.push(token);
    const joined = await EdgeClient.join({ ...hub.edgeOptions('edge-1'), token });
    await joined.connect();
    const again = { ...hub.edgeOptions('edge-1'), token };
    await expect(EdgeClient.join(again)).rejects.toThrow();
    await hub.admin.post('/api/v1/certificates/hub/rotate');
    await hub.admin.post('/api/v1/ca/rollover/prepare');
    await hub.admin.post('/api/v1/revocations', { node: 'edge-1', reason: 'keyCompromise', note: 'stolen' });
    await eventually('the session is ended', () => lines('session-shut-out').length === 1);
    await joined.close();
  }
  expect(lines('certificate-authority-created')).toMatchObject([{ who: 'gateway' }]);
  expect(lines('edge-certificate-issued')).toMatchObject([
    { who: 'edge-1', node: 'edge-1', why: 'token', from: '127.0.0.1', facts: { serial: expect.any(String) } },
  ]);
  // The gateway's test of itself is nobody who was refused.
  expect(lines('certificate-refused')).toMatchObject([
    { who: 'unknown', from: '127.0.0.1', facts: { code: 'TOKEN_USED', claimedNode: 'edge-1' } },
  ]);
  expect(lines('ca-rollover')).toMatchObject([
    { who: 'admin', facts: { step: 'prepare', phase: 'prepared' } },
  ]);
  expect(lines('revoked')).toMatchObject([{ who: 'admin', node: 'edge-1', why: 'keyCompromise: stolen' }]);
  expect(lines('session-shut-out')).toMatchObject([{ node: 'edge-1', why: CLOSE_REASONS.Revoked.text }]);
  expect(lines('admin-asked').map(({ what }) => what)).toEqual([
    'POST /api/v1/tokens',
    'POST /api/v1/certificates/hub/rotate',
    'POST /api/v1/ca/rollover/prepare',
    'POST /api/v1/revocations',
  ]);
  expect(lines('admin-answered').map(({ facts }) => facts!.status)).toEqual([200, 200, 200, 200]);
  expect(readAudit(folder).at(-1)).toMatchObject({ action: 'gateway-stopped' });

  const text = readFileSync(join(folder, 'hub-1.000001.jsonl'), 'utf8');
  // Its first part is the hash of the CA, which everybody may know.
  for (const secret of secrets)
    for (const part of secret.split('.').slice(1)) expect(text).not.toContain(part);
  expect(text).not.toMatch(/PRIVATE KEY|eyJ/);
});

test('the command line lists and checks it, and tells the line that somebody changed', async () => {
  const run = (...args: string[]) => sallyport(['audit', ...args, '--set', `audit.path=${folder}`]);
  const list = await run('list', '--node', 'edge-1', '--since', '1h');
  expect(list.stdout).toMatch(/^TIME +ACTION +WHO +NODE +FROM +WHY +WHAT +REPLICA\n/);
  expect(list.stdout).toMatch(/ revoked +admin +edge-1 +<none> +keyCompromise: stolen /);
  expect(JSON.parse((await run('list', '--action', 'revoked', '-o', 'json')).stdout)).toHaveLength(1);
  expect((await run('list', '--until', '2020-01-01T00:00:00Z')).stderr).toContain(
    'no line of the audit matches',
  );
  expect((await run('list', '--since', 'soon')).code).toBe(2);

  const whole = await run('verify');
  const [, head] = /hash ([0-9a-f]{64})$/m.exec(whole.stdout)!;
  expect([whole.code, whole.stdout]).toEqual([
    0,
    expect.stringMatching(/^hub-1: whole, \d+ lines in 1 file,/),
  ]);
  expect((await run('verify', '--includes', head!)).code).toBe(0);
  expect((await run('verify', '--includes', 'ab')).code).toBe(1);

  const file = join(folder, 'hub-1.000001.jsonl');
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, text.replace('keyCompromise: stolen', 'keyCompromise: borrowed'));
  const broken = await run('verify');
  const at = text.split('\n').findIndex((line) => line.includes('"action":"revoked"')) + 2;
  expect([broken.code, broken.stdout]).toEqual([1, expect.stringContaining(`broken at ${file}:`)]);
  expect(Number(/:(\d+): the line before/.exec(broken.stdout)![1])).toBeLessThanOrEqual(at);
  writeFileSync(file, text);

  const none = await sallyport(['audit', 'list']);
  expect([none.code, none.stderr]).toEqual([2, expect.stringContaining('[AUDIT_NOT_KEPT]')]);
});

test('P2: the folder goes away while it runs: edges join, administrators are refused, readiness and metrics say so', async () => {
  await using hub = await start();
  const { token } = await hub.admin.post<{ token: string }>('/api/v1/tokens', { node: 'edge-2' });
  renameSync(folder, `${folder}-away`);
  const edge = await EdgeClient.join({ ...hub.edgeOptions('edge-2'), token });
  await edge.close();
  const refused = hub.admin.post('/api/v1/tokens', { node: 'edge-3' });
  await expect(refused).rejects.toMatchObject({ code: 'AUDIT_UNAVAILABLE' });
  await hub.admin.post('/api/v1/revocations', { node: 'edge-9', reason: 'keyCompromise' });
  const ready = await hub.admin.text('/readyz?verbose');
  expect(ready).toMatchObject({
    status: 200,
    text: expect.stringMatching(/^\[\+\]audit ok \(lines are being lost/m),
  });
  expect((await hub.admin.text('/metrics')).text).toMatch(/^sallyport_audit_lines_lost_total [1-9]/m);
  rmSync(folder, { recursive: true, force: true });
  renameSync(`${folder}-away`, folder);
  await hub.admin.post('/api/v1/tokens', { node: 'edge-3' });
  expect(lines('audit-lines-lost')).toMatchObject([{ facts: { lines: expect.any(Number) } }]);
  expect(verifyAudit(folder).chains).toMatchObject([{ replica: 'hub-1' }]);
  expect(verifyAudit(folder).chains[0]!.broken).toBeUndefined();
});

test('a folder that cannot be written stops the start before any Secret is made', async () => {
  const file = join(base, 'a-file');
  writeFileSync(file, '');
  mkdirSync(join(base, 'empty'));
  const secrets = join(base, 'empty', 'secrets');
  const started = startTestGateway({ folder: secrets, settings: { 'audit.path': join(file, 'audit') } });
  await expect(started).rejects.toMatchObject({ code: 'AUDIT_FOLDER_UNUSABLE' });
  expect(() => readFileSync(join(secrets, 'casecret.yaml'))).toThrow(/ENOENT/);
});
