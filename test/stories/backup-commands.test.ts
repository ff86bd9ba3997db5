import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { sallyport } from '../support/fleets/process.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const PASSPHRASE = 'eleven blue horses';
let base: string;
let hub: TestGateway;
let edge: EdgeClient;
const at = (name: string) => join(base, name);
const run = (...args: string[]) =>
  sallyport(
    [...args, '--set', `secretStore.path=${hub.folder}`, '--set', `admin.port=${hub.port('admin')}`],
    {
      env: { SALLYPORT_PASSPHRASE: PASSPHRASE },
    },
  );
beforeAll(async () => {
  base = temporaryFolder();
  hub = await startTestGateway();
  edge = await EdgeClient.join({ ...hub.edgeOptions('edge-1'), token: await hub.nodeToken('edge-1') });
  await edge.connect();
}, 60_000);
afterAll(async () => {
  await edge.close();
  await hub[Symbol.asyncDispose]();
});

describe('backup', () => {
  test('a backup is for its owner alone, overwrites nothing, and shows neither key nor passphrase', async () => {
    const made = await run('backup', 'create', '--out', at('fleet'));
    expect(made.code, made.stderr).toBe(0);
    expect(statSync(at('fleet')).mode & 0o777).toBe(0o600);
    const first = readFileSync(at('fleet'), 'utf8');
    expect(first).toMatch(/^-----BEGIN CMS-----\n/);
    const again = await run('backup', 'create', '--out', at('fleet'));
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('BACKUP_FILE_EXISTS')]);
    expect(readFileSync(at('fleet'), 'utf8')).toBe(first);
    expect((await run('backup', 'create', '--out', at('fleet'), '--force')).code).toBe(0);
    expect(readFileSync(at('fleet'), 'utf8')).not.toBe(first);
    const key = /cakeydata: "?([\w+/=]{20})/.exec(
      readFileSync(join(hub.folder, 'casecret.yaml'), 'utf8'),
    )![1]!;
    for (const text of [made.stdout, made.stderr, again.stderr]) {
      expect(text).not.toContain(PASSPHRASE);
      expect(text).not.toContain(key);
    }
    const nowhere = await run('backup', 'create', '--out', at('no/such/folder/fleet'));
    expect([nowhere.code, nowhere.stderr]).toEqual([1, expect.stringContaining('BACKUP_FILE_UNUSABLE')]);
  });

  test('verify proves that the connected nodes chain to it, and names the one that does not', async () => {
    const good = await run('backup', 'verify', at('fleet'));
    expect([good.code, good.stdout]).toEqual([
      0,
      expect.stringContaining('1 of 1 connected nodes chain to this backup'),
    ]);

    await using other = await startTestGateway();
    await other.stop();
    const foreign = ['--set', `secretStore.path=${other.folder}`] as const;
    const made = await sallyport(['backup', 'create', '--out', at('foreign'), ...foreign], {
      env: { SALLYPORT_PASSPHRASE: PASSPHRASE },
    });
    expect(made.code, made.stderr).toBe(0);
    const bad = await run('backup', 'verify', at('foreign'), '-o', 'json');
    expect(bad.code).toBe(1);
    expect(JSON.parse(bad.stdout)).toMatchObject({
      nodes: { connected: 1, covered: 0, uncovered: [{ node: 'edge-1' }] },
      findings: expect.arrayContaining([
        { level: 'bad', what: 'casecret', text: 'the store holds another CA than this backup' },
      ]),
    });
    expect((await run('backup', 'verify', at('foreign'), '--offline')).code).toBe(0);
  });

  test('A1: restore does not overwrite the living CA, and says whom it would cut off', async () => {
    const before = readFileSync(join(hub.folder, 'casecret.yaml'), 'utf8');
    const refused = await run('backup', 'restore', at('foreign'), '--yes');
    expect(refused.code).toBe(1);
    expect(refused.stdout).toContain('Refused without --force');
    expect(refused.stdout).toContain('1 of 1 connected nodes chain to the CA that would be lost: edge-1');
    const look = await run('backup', 'restore', at('foreign'), '--force', '--dry-run');
    expect([look.code, look.stdout]).toEqual([0, expect.stringContaining('nothing was written')]);
    const nobody = await run('backup', 'restore', at('foreign'), '--force');
    expect([nobody.code, nobody.stderr]).toEqual([2, expect.stringContaining('--yes')]);
    expect(readFileSync(join(hub.folder, 'casecret.yaml'), 'utf8')).toBe(before);
    const same = await run('backup', 'restore', at('fleet'));
    expect([same.code, same.stdout]).toEqual([0, expect.stringContaining('everything is there already')]);
  });

  test('a wrong passphrase, and none at all, end with what to do', async () => {
    writeFileSync(at('wrong'), 'another passphrase\n');
    const wrong = await run('backup', 'verify', at('fleet'), '--passphrase-file', at('wrong'));
    expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('BACKUP_PASSPHRASE')]);
    const none = await sallyport(['backup', 'verify', at('fleet')], { env: { SALLYPORT_PASSPHRASE: '' } });
    expect([none.code, none.stderr]).toEqual([2, expect.stringContaining('--passphrase-file')]);
    expect(existsSync(at('fleet'))).toBe(true);
  });
});

describe('certs', () => {
  test('needs-renewal exits with 0 when nobody has to act, 1 when somebody has, 2 when nobody can tell', async () => {
    const fine = await run('certs', 'needs-renewal');
    expect([fine.code, fine.stdout]).toEqual([0, 'no certificate needs renewal\n']);
    const due = await run('certs', 'needs-renewal', '--within', '100d');
    expect([due.code, due.stdout]).toEqual([
      1,
      expect.stringMatching(/^hub +cloudcoresecret .* it ends soon$/m),
    ]);
    const dark = await run('certs', 'needs-renewal', '--admin', '127.0.0.1:1');
    expect([dark.code, dark.stderr]).toEqual([2, expect.stringContaining('cannot tell')]);
    expect((await run('certs', 'needs-renewal', '--within', 'soon')).code).toBe(2);
  });

  test('inspect shows what a listener serves by a real handshake, and holds it against the CA of the store', async () => {
    const port = hub.port('https');
    const good = await run('certs', 'inspect', `localhost:${port}`, '-o', 'json');
    expect(good.code, good.stderr).toBe(0);
    expect(JSON.parse(good.stdout)).toMatchObject([
      {
        certificates: [{ issuer: 'CN=KubeEdge', names: ['localhost', '127.0.0.1', '::1'] }],
        endpoint: { protocol: 'TLSv1.3', servername: 'localhost', verified: true },
      },
    ]);
    const named = await run('certs', 'inspect', `127.0.0.1:${port}`, '--servername', 'hub.example');
    expect([named.code, named.stdout]).toEqual([1, expect.stringContaining('it does not name hub.example')]);
    const foreign = await run('certs', 'inspect', `localhost:${port}`, '--ca', join(hub.folder, 'admin.crt'));
    expect([foreign.code, foreign.stdout]).toEqual([1, expect.stringContaining('leads to no CA given')]);
    const dark = await run('certs', 'inspect', '127.0.0.1:1');
    expect([dark.code, dark.stderr]).toEqual([1, expect.stringContaining('ENDPOINT_UNREACHABLE')]);
  });

  test('inspect reads files and Secrets, says whom a private key belongs to, and never shows it', async () => {
    const store = await run('certs', 'inspect');
    expect(store.code, store.stderr).toBe(0);
    expect(store.stdout).toMatch(/private key in cakeydata: belongs to the certificate [0-9a-f]{16}/);
    expect(store.stdout).not.toContain('PRIVATE KEY');
    const secret = await run('certs', 'inspect', 'secret/casecret', '-o', 'name');
    expect(secret.stdout.trim()).toBe(hub.gateway.ready().caSha256);
    const [certificate, key] = ['admin.crt', 'admin.key'].map((name) =>
      readFileSync(join(hub.folder, name), 'utf8'),
    );
    writeFileSync(at('both.pem'), certificate! + key!);
    const both = await run('certs', 'inspect', at('both.pem'));
    expect([both.code, both.stdout]).toEqual([0, expect.stringContaining('belongs to the certificate')]);
    expect(both.stdout).not.toContain(key!.split('\n')[1]!);
    writeFileSync(at('wrong.pem'), readFileSync(join(hub.folder, 'ca.crt'), 'utf8') + key!);
    const wrong = await run('certs', 'inspect', at('wrong.pem'));
    expect([wrong.code, wrong.stdout]).toEqual([
      1,
      expect.stringContaining('belongs to none of the certificates'),
    ]);
    writeFileSync(at('text'), 'hello');
    const text = await run('certs', 'inspect', at('text'));
    expect([text.code, text.stderr]).toEqual([1, expect.stringContaining('INSPECT_NOTHING')]);
  });
});
