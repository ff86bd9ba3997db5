import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { joinAsEdgeCore } from '../support/edges/edgecore.ts';
import { sallyport } from '../support/fleets/process.ts';
import { KubeFleet, portOf } from '../support/kube/kube-fleet.ts';

const ADMIN = '/sallyport/admin';
let fleet: KubeFleet;
let hub: Awaited<ReturnType<KubeFleet['start']>>[number];
beforeAll(async () => {
  fleet = await KubeFleet.start();
  [hub] = (await fleet.start(['a'])) as [typeof hub];
  vi.stubEnv('KUBECONFIG', hub.kubeconfig);
  const { users } = fleet.api.reviews;
  users.set('token-a', { username: 'operator' });
  users.set('token-viewer', { username: 'viewer' });
  fleet.api.reviews.grants = [
    { username: 'operator', nonResourceURLs: ['/sallyport/*'], verbs: ['get', 'post'] },
    { username: 'viewer', nonResourceURLs: [ADMIN], verbs: ['get'] },
  ];
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await fleet[Symbol.asyncDispose]();
});

const run = (...args: string[]) =>
  sallyport(['--admin', hub.ready.admin, '--set', 'secretStore.kind=kubernetes', ...args]);

test("the command line uses the kubeconfig: its user's token, and the CA from the Secret", async () => {
  const created = await run('token', 'create', '--node', 'edge-1');
  expect([created.code, created.stderr]).toEqual([0, '']);
  const joined = await joinAsEdgeCore(portOf(hub.ready.https), {
    node: 'edge-1',
    token: created.stdout.trim(),
  });
  expect(joined.answer.status).toBe(200);
  const list = await run('certs', 'list');
  expect(list.stdout).toContain('cloudcoresecret');
});

test('a token of `kubectl create token` may be given; what its owner may not do is refused with the missing right', async () => {
  const seen = await run('--bearer-token', 'token-viewer', 'nodes', 'list');
  expect(seen.code).toBe(0);
  const refused = await run('--bearer-token', 'token-viewer', 'certs', 'rotate', 'hub');
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('BEARER_FORBIDDEN');
  expect(refused.stderr).toContain(`viewer may not post the non-resource URL ${ADMIN}`);
  const unknown = await run('--bearer-token', 'nobody', 'nodes', 'list');
  expect([unknown.code, unknown.stderr]).toEqual([1, expect.stringContaining('BEARER_REFUSED')]);
});

test('`adopt --dry-run` looks at the cluster and writes nothing', async () => {
  const writes = fleet.api.writes.length;
  const shown = await run('adopt', '--dry-run');
  expect([shown.code, shown.stderr]).toEqual([0, '']);
  expect(shown.stdout).toContain(`SHA-256 ${fleet.caSha256()}`);
  expect(shown.stdout).not.toContain('deployment/');
  fleet.api.others.set('deployments/cloudcore', { spec: { replicas: 1 } });
  fleet.api.others.set('services/cloudcore', { spec: { ports: [{ port: 10000 }, { port: 10003 }] } });
  const beside = await run('adopt', '--dry-run', '-o', 'json');
  expect(beside.code).toBe(0);
  const ofCloudCore = (JSON.parse(beside.stdout) as { object: string; text: string }[]).filter(({ object }) =>
    object.endsWith('/cloudcore'),
  );
  expect(ofCloudCore.map(({ text }) => text)).toEqual([
    expect.stringContaining('keeps running'),
    expect.stringContaining('10000; 10003 stays with CloudCore'),
    expect.stringContaining('upstream.kind is none'),
  ]);
  expect(fleet.api.writes.length).toBe(writes);
  const usage = await run('adopt');
  expect(usage.code).toBe(2);
});

test('a bearer token comes from the environment, from a file, or from the command line, which wins', async () => {
  const file = join(fleet.folder, 'bearer-token');
  writeFileSync(file, 'token-a\n', { mode: 0o600 });
  const asWho = async (...args: string[]) => (await run('token', 'create', '--node', 'edge-9', ...args)).code;
  vi.stubEnv('SALLYPORT_BEARER_TOKEN', 'token-viewer');
  expect(await asWho()).toBe(1);
  expect(await asWho('--bearer-token-file', file)).toBe(0);
  expect(await asWho('--bearer-token', 'token-a')).toBe(0);
  vi.stubEnv('SALLYPORT_BEARER_TOKEN', '');
  vi.stubEnv('SALLYPORT_BEARER_TOKEN_FILE', join(fleet.folder, 'none'));
  const missing = await run('nodes', 'list');
  expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining('BEARER_UNREADABLE')]);
});
