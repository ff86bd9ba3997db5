import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AdminClient } from '../../src/cli/admin/admin-client.ts';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { eventually } from '../support/eventually.ts';
import { ImageFolders } from '../support/fleets/image.ts';
import { launchGateway } from '../support/fleets/process.ts';
import { KubeApi } from '../support/kube/kube-api.ts';

const WITH_QUIC = { NODE_OPTIONS: '--allow-addons' };
let image: ImageFolders;
beforeAll(() => {
  image = new ImageFolders();
});
afterAll(() => image[Symbol.dispose]());

const launch = (settings: Readonly<Record<string, string>>, env: NodeJS.ProcessEnv = {}) =>
  launchGateway(image.path('/var/lib/sallyport'), settings, env, image.command);

test.each([
  ['websocket', {}],
  ['quic', WITH_QUIC],
] as const)(
  "with the image's permissions a gateway gets ready, and a node joins over %s",
  async (transport, env) => {
    await using launched = launch({ [`${transport}.enabled`]: 'true', [`${transport}.port`]: '0' }, env);
    const { ready } = await launched.whenReady;
    const file = (name: string) => join(image.path('/var/lib/sallyport'), name);
    const admin = new AdminClient({
      address: ready.admin,
      cert: file('admin.crt'),
      key: file('admin.key'),
      ca: file('ca.crt'),
    });
    const node = `edge-${transport}`;
    const { token } = await admin.post<{ token: string }>('/api/v1/tokens', { node });
    const at = (address: string) => `localhost:${address.split(':').at(-1)}`;
    await using edge = await EdgeClient.join({
      node,
      token,
      transport,
      directory: image.path(`/var/lib/edge/${node}`),
      hub: { https: at(ready.https), [transport]: at(ready[transport]!) },
    });
    await edge.connect();
    const known = await admin.get<{ transport: string }>(`/api/v1/nodes/${node}`);
    expect(known.transport).toBe(transport);
    const metrics = await admin.text('/metrics');
    expect(metrics.text).toContain('process_open_fds');
    expect(metrics.text).toContain('process_max_fds');
  },
);

test('with Secrets on a cluster a gateway gets ready under them, with the token and configuration of a pod', async () => {
  await using api = await KubeApi.start();
  const tokenFile = image.path('/var/run/secrets/kubernetes.io/serviceaccount/token');
  writeFileSync(tokenFile, 'token-1');
  const kubeconfig = image.path('/etc/sallyport/kubeconfig');
  writeFileSync(kubeconfig, api.kubeconfig({ tokenFile }));
  const config = image.path('/etc/sallyport/gateway.yaml');
  symlinkSync('..data/gateway.yaml', config);
  mountConfig('first', 'log: { level: debug }');
  await using launched = launch(
    { 'secretStore.kind': 'kubernetes' },
    { KUBECONFIG: kubeconfig, SALLYPORT_CONFIG: config },
  );
  expect((await launched.whenReady).ready.caSha256).toMatch(/^[0-9a-f]{64}$/);
  expect(api.stored('casecret')).toBeDefined();
  expect(launched.log()).toContain('"level":"debug"');
  mountConfig('second', 'log: { level: info }');
  await eventually('the changed file is taken over', () =>
    launched.log().includes('configuration taken over'),
  );
});

/** As the kubelet mounts a ConfigMap: behind a link that is replaced. */
function mountConfig(version: string, settings: string): void {
  const folder = image.path('/etc/sallyport');
  mkdirSync(join(folder, `..${version}`));
  const text = `apiVersion: sallyport/v1\nkind: Gateway\n${settings}\n`;
  writeFileSync(join(folder, `..${version}/gateway.yaml`), text);
  symlinkSync(`..${version}`, join(folder, '..next'));
  renameSync(join(folder, '..next'), join(folder, '..data'));
}

test('nothing beyond the folders can be read or written, and no process, worker or native library started', () => {
  const outside = image.path('/etc/shadow');
  writeFileSync(outside, 'secret');
  const ask = (...questions: readonly string[][]) =>
    JSON.parse(
      execFileSync(
        process.execPath,
        [
          ...image.flags,
          '-p',
          `JSON.stringify(${JSON.stringify(questions)}.map((q) => process.permission.has(...q)))`,
        ],
        { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' } },
      ),
    ) as boolean[];
  const store = image.path('/var/lib/sallyport/casecret.yaml');
  expect(ask(['fs.read', store], ['fs.write', store])).toEqual([true, true]);
  const forbidden = [
    ['fs.read', outside],
    ['fs.read', '/etc/passwd'],
    ['fs.read', `${image.path('/var/lib/sallyport')}-elsewhere`],
    ['fs.read', '/proc/self/root/etc/passwd'],
    ['fs.read', '/proc/self/environ'],
    ['fs.write', image.path('/etc/sallyport/gateway.yaml')],
    ['fs.write', image.command.at(-1)!],
    ['fs.write', image.path('/tmp/x')],
    ['child'],
    ['worker'],
    ['addon'],
    ['inspector'],
    ['wasi'],
  ];
  expect(ask(...forbidden)).toEqual(forbidden.map(() => false));
});

test.each([
  ['secretStore.path', (elsewhere: string) => elsewhere, '--allow-fs-write='],
  ['quic.enabled', () => 'true', '--allow-addons'],
])('a setting that needs more ends the start with the flag to add: %s', async (setting, value, flag) => {
  const elsewhere = image.path('/srv/secrets');
  mkdirSync(elsewhere, { recursive: true, mode: 0o700 });
  await using launched = launch({ [setting]: value(elsewhere) });
  await expect(launched.whenReady).rejects.toThrow(flag);
  // No second attempt: waiting mends nothing.
  expect(launched.log()).not.toContain('trying again');
});
