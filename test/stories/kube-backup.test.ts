import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { parse } from 'yaml';
import type { BackupStatus } from '../../src/contracts/backups.ts';
import { joinAsEdgeCore } from '../support/edges/edgecore.ts';
import { sallyport } from '../support/fleets/process.ts';
import { KubeApi, type PolicyRule } from '../support/kube/kube-api.ts';
import { storedCa } from '../support/kube/kube-fleet.ts';
import { startKubeGateway } from '../support/kube/kube-gateway.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

/** The Role that docs/operations.md gives a backup job. */
const [, manifest] = /```yaml\n(apiVersion: rbac[\s\S]*?name: sallyport-backup\n[\s\S]*?)```/.exec(
  readFileSync('docs/operations.md', 'utf8'),
)!;
const { rules } = parse(manifest!) as { rules: PolicyRule[] };
const LOST = ['casecret', 'cloudcoresecret', 'tokensecret', 'sallyport-tokens', 'sallyport-revocations'];

test('A1 A6: on a cluster the documented Role is enough for a backup and for a restore of what is lost; a token on its way works', async () => {
  const folder = temporaryFolder();
  await using api = await KubeApi.start();
  const file = join(folder, 'fleet.backup');
  writeFileSync(join(folder, 'config'), api.kubeconfig());
  vi.stubEnv('KUBECONFIG', join(folder, 'config'));
  const run = (...args: string[]) =>
    sallyport([...args, '--set', 'secretStore.kind=kubernetes'], {
      env: { SALLYPORT_PASSPHRASE: 'eleven blue horses' },
    });
  try {
    let token: string;
    {
      await using first = await startKubeGateway(api);
      ({ token } = await first.admin.post<{ token: string }>('/api/v1/tokens', { node: 'edge-1' }));
      await first.admin.post('/api/v1/revocations', { node: 'edge-9' });
      expect(await first.admin.get<BackupStatus>('/api/v1/backup')).not.toHaveProperty('last');
    }
    const ca = storedCa(api).sha256;
    const everything = api.rules;

    api.rules = rules;
    const writes = api.writes.length;
    const made = await run('backup', 'create', '--out', file);
    expect([made.code, made.stderr]).toEqual([0, '']);
    expect(api.writes.slice(writes)).toEqual([
      expect.objectContaining({ verb: 'create', name: 'sallyport-backup' }),
    ]);
    expect((await run('backup', 'create', '--out', file, '--force')).stderr).toBe('');
    for (const name of LOST) api.remove(name);
    const restored = await run('backup', 'restore', file, '--yes');
    expect(restored.code, restored.stderr).toBe(0);
    expect(storedCa(api).sha256).toBe(ca);
    api.rules = everything;

    await using second = await startKubeGateway(api);
    expect(second.gateway.info().caSha256).toBe(ca);
    expect(await second.admin.get<BackupStatus>('/api/v1/backup')).toMatchObject({
      coversCa: true,
      last: { caSha256: [ca], revocationVersion: 1 },
    });
    expect(await second.admin.get('/api/v1/revocations')).toMatchObject({ items: [{ node: 'edge-9' }] });
    const join1 = () => joinAsEdgeCore(second.port('https'), { node: 'edge-1', token });
    expect([(await join1()).answer.status, (await join1()).answer.status]).toEqual([200, 401]);
  } finally {
    vi.unstubAllEnvs();
  }
});
