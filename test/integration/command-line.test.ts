import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { runProgram } from '../../src/cli/program.ts';
import { Terminal } from '../../src/cli/terminal.ts';
import { closeReason } from '../../src/protocol/close-reasons.ts';
import { sallyportWords, shellBlocks } from '../../tools/document-commands.ts';
import { MiniHub } from '../support/edges/mini-hub.ts';
import { eventually } from '../support/eventually.ts';
import {
  type GatewayProcess,
  type RunOptions,
  sallyport,
  sallyportProcess,
  startGatewayProcess,
} from '../support/fleets/process.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

let folder: string;
let gateway: GatewayProcess;
const settings = () => ({ 'secretStore.path': folder, 'audit.path': join(folder, 'audit') });
const run = (...args: string[]) => runWith({}, ...args);
const runWith = (options: RunOptions, ...args: readonly string[]) =>
  sallyport(
    [
      ...[...args, '--admin', gateway.ready.admin],
      ...Object.entries(settings()).flatMap(([path, value]) => ['--set', `${path}=${value}`]),
    ],
    options,
  );
const at = (admin: string) =>
  sallyport(['nodes', 'list', '--admin', admin, '--set', `secretStore.path=${folder}`]);
beforeAll(async () => {
  folder = temporaryFolder();
  gateway = await startGatewayProcess(folder, settings());
});
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
});

describe('the command line', () => {
  test('serve --print-ready prints exactly one line of JSON with the real ports', () => {
    expect(gateway.ready).toMatchObject({
      ready: true,
      https: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      websocket: expect.stringMatching(/:\d+$/),
      admin: expect.stringMatching(/:\d+$/),
      caSha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    expect(gateway.ready.https).not.toBe('127.0.0.1:0');
  });

  test('token create prints the token alone', async () => {
    // In a process of its own: a shell takes what stands on this pipe.
    const { code, stdout } = await sallyportProcess([
      ...['token', 'create', '--node', 'edge-1', '--admin', gateway.ready.admin],
      ...['--set', `secretStore.path=${folder}`],
    ]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^[0-9a-f]{64}\.[\w-]+\.[\w-]+\.[\w-]+\n$/);
    expect(stdout.startsWith(gateway.ready.caSha256)).toBe(true);
  });

  test('P4: certs issue makes a viewer, who reads and is told why not more; a second one of the name is refused', async () => {
    const out = join(folder, 'alice');
    const issued = await run('certs', 'issue', 'viewer', 'alice', '--out', out, '--reason', 'on call');
    expect([issued.code, issued.stdout]).toEqual([0, expect.stringMatching(/^viewer alice, until 2\d{3}-/)]);
    const as = [
      '--cert',
      join(out, 'alice.crt'),
      '--key',
      join(out, 'alice.key'),
      '--ca',
      join(out, 'ca.crt'),
    ];
    expect((await run('nodes', 'list', ...as)).code).toBe(0);
    const refused = await run('certs', 'rotate', 'hub', ...as);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('alice is a viewer')]);
    expect((await run('certs', 'issue', 'operator', 'alice', '--out', out)).code).toBe(2);
    for (const wrong of [
      ['auditor', 'bob'],
      ['viewer', '../bob'],
      ['viewer', 'ca'],
    ])
      expect((await run('certs', 'issue', ...wrong, '--out', out)).code, wrong.join()).toBe(2);
    expect((await run('certs', 'issue', 'operator', 'bob', '--out', join(folder, 'bob'))).code).toBe(0);
    const bob = ['--cert', join(folder, 'bob/bob.crt'), '--key', join(folder, 'bob/bob.key')];
    expect((await run('certs', 'rotate', 'hub', ...bob)).code).toBe(0);
    const { serialNumber } = new X509Certificate(readFileSync(join(out, 'alice.crt')));
    const lines = await run('audit', 'list', '--action', 'admin-certificate-issued', '-o', 'json');
    expect(JSON.parse(lines.stdout)).toMatchObject([
      { who: 'gateway', facts: { role: 'operator', name: 'admin' } },
      {
        who: userInfo().username,
        from: hostname(),
        why: 'on call',
        what: expect.stringMatching(/^viewer alice has a certificate until 2\d{3}-/),
        facts: { role: 'viewer', name: 'alice', serial: serialNumber },
      },
      { facts: { role: 'operator', name: 'bob' } },
    ]);
    expect((await run('audit', 'verify')).code).toBe(0);
  });

  test('certs list prints a table, JSON, YAML or names, and rotate changes the served certificate', async () => {
    const table = await run('certs', 'list');
    expect(table.stdout).toMatch(
      /^CERTIFICATE +SECRET +EXPIRES +RESIDUAL TIME +AUTHORITY +EXTERNALLY MANAGED/,
    );
    expect(table.stdout).toMatch(/websocket .* yes +\d+\w+ ago/m);
    expect(table.stdout).toMatch(/^fleet-token +tokensecret +\d{4}-/m);
    const before = JSON.parse((await run('certs', 'list', '-o', 'json')).stdout) as {
      wantedFingerprint: string;
    };
    expect((await run('certs', 'rotate', 'hub')).stdout).toContain('hub certificate rotated');
    const after = parse((await run('certs', 'list', '-o', 'yaml')).stdout) as { wantedFingerprint: string };
    expect(after.wantedFingerprint).not.toBe(before.wantedFingerprint);
    expect((await run('certs', 'list', '-o', 'name')).stdout).toMatch(/^ca\/[0-9A-F]+$/m);
  });

  test('revoke, quarantine, lift and revocations list say what is in force where', async () => {
    expect((await run('revocations', 'list')).stderr).toContain('nothing is revoked');
    const revoked = await run('revoke', 'edge-7', '--reason', 'keyCompromise', '--note', 'left in a train');
    expect(revoked.code, revoked.stderr).toBe(0);
    expect(revoked.stderr).toContain('node edge-7 is revoked');
    expect(revoked.stderr).toContain('no node of this name has ever been here');
    expect(revoked.stdout).toMatch(
      /^ID +KIND +TARGET +REASON +AGE +BY +NOTE\nr1 +node +edge-7 +keyCompromise/,
    );
    expect(revoked.stdout).toMatch(/^REPLICA +VERSION +STATE +SINCE +CLOSED\n\S+ +1\/1 +in force +20/m);
    expect((await run('quarantine', 'edge-8')).stdout).toMatch(/^r2 +quarantine +edge-8 +certificateHold/m);
    expect((await run('revoke', '--serial', '0a:0B')).stdout).toMatch(/^r3 +certificate +A0B /m);
    const list = JSON.parse((await run('revocations', 'list', '-o', 'json')).stdout) as { id: string }[];
    expect(list.map(({ id }) => id)).toEqual(['r1', 'r2', 'r3']);
    expect((await run('revocations', 'list', '-o', 'name')).stdout).toBe(
      'revocation/r1\nrevocation/r2\nrevocation/r3\n',
    );
    expect((await run('lift', 'edge-8')).stderr).toContain('node edge-8 is let in again');
    expect((await run('lift', 'edge-7', '--rejoin')).stdout).toMatch(/^r5 +old certificates +edge-7/m);
    expect((await run('lift', '--serial', 'a0b')).code).toBe(0);
    const shown = parse((await run('revocations', 'show', 'r5', '-o', 'yaml')).stdout) as object;
    expect(shown).toMatchObject({ complete: true, revocation: { node: 'edge-7', note: 'left in a train' } });
    const missing = await run('lift', 'edge-8');
    expect([missing.code, missing.stderr]).toEqual([
      1,
      expect.stringContaining('nothing is revoked for node edge-8'),
    ]);
    expect((await run('lift', 'edge-7')).code).toBe(0);
    const own = new X509Certificate(readFileSync(join(folder, 'admin.crt'))).serialNumber;
    const itself = await run('revoke', '--serial', own);
    expect([itself.code, itself.stderr]).toEqual([1, expect.stringContaining('[REVOKES_ITSELF]')]);
    const log = gateway.log();
    expect(log).toMatch(
      /"audit":"revoked","target":"node edge-7","reason":"keyCompromise"[^\n]*"by":"admin"/,
    );
  });

  test('ca rollover: each step says what comes next, status says what blocks it, abort goes back', async () => {
    const rollover = (...args: string[]) => run('ca', 'rollover', ...args);
    expect((await rollover('status')).stdout).toMatch(/^Phase: +idle\n.*\nNodes: .*\nMay prepare: +yes\n/s);
    const early = await rollover('activate');
    expect(early.code).toBe(1);
    expect(early.stderr).toMatch(/phase idle, in which activate cannot be done.*\[ROLLOVER_PHASE\]/);
    const prepared = await rollover('prepare');
    expect(prepared.stderr).toContain('next: sallyport ca rollover activate');
    expect(prepared.stdout).toMatch(
      /^Phase: +prepared\n.*\nNew CA: +[0-9a-f]{16} CN=KubeEdge [0-9a-f]{8} until /s,
    );
    expect((await rollover('activate', '-o', 'name')).stdout).toBe('phase/active\n');
    expect(JSON.parse((await rollover('status', '-o', 'json')).stdout)).toMatchObject({ phase: 'active' });
    expect((await run('nodes', 'list')).code).toBe(0);
    expect(parse((await rollover('abort', '-o', 'yaml')).stdout)).toMatchObject({ phase: 'prepared' });
    expect((await rollover('abort')).stdout).toMatch(/^Phase: +idle\n/);
    expect((await rollover('renew')).code).toBe(2);
  });

  test('send: repeated with the same --id it is one message', async () => {
    const send = (...more: string[]) =>
      run('send', 'away-1', '--resource', 'app/x', '--operation', 'update', '--id', 'order-17', ...more);
    for (const _ of ['first', 'again']) {
      const { code, stdout, stderr } = await send('-o', 'json');
      expect([code, stderr]).toEqual([0, '']);
      expect(JSON.parse(stdout)).toEqual({ kind: 'queued', msgId: 'order-17' });
    }
    const broken = await send('--id', 'two words');
    expect([broken.code, broken.stderr]).toEqual([1, expect.stringContaining('body.id')]);
  });

  test('send: an operation that no EdgeCore knows is refused before anything is sent', async () => {
    const { code, stderr } = await run('send', 'away-1', '--resource', 'app/x', '--operation', 'updtae');
    expect([code, stderr]).toEqual([
      2,
      expect.stringContaining("argument 'updtae' is invalid. Allowed choices are insert, update, "),
    ]);
  });

  test('P3: dashboard prints an address that reads with its token alone, until it is stopped', async () => {
    const stop = new AbortController();
    const stdout = new PassThrough({ encoding: 'utf8' });
    const terminal = new Terminal({
      stdin: process.stdin,
      stdout,
      stderr: new PassThrough().resume(),
      env: { ...process.env, NO_COLOR: '1' },
      interrupted: () => stop.signal,
    });
    const words = ['dashboard', '--admin', gateway.ready.admin, '--set', `secretStore.path=${folder}`];
    const running = runProgram(terminal, words);
    const [line] = (await once(stdout, 'data')) as [string];
    const { origin, hash } = new URL(line.trim());
    const read = (headers: Record<string, string>) => fetch(`${origin}/api/v1/info`, { headers });
    const info = await read({ 'sallyport-dashboard': hash.replace('#token=', '') });
    expect([info.status, await info.json()]).toEqual([200, expect.objectContaining({ draining: false })]);
    expect((await read({})).status).toBe(401);
    stop.abort();
    expect(await running).toBe(0);
    await expect(read({})).rejects.toThrow();
  });

  test('usage errors exit with 2 and say what to do', async () => {
    for (const args of [
      ['nonsense'],
      ['nodes'],
      ['token', 'create'],
      ['token', 'create', '--node', 'Not_A_Name'],
      ['token', 'create', '--node', 'a', '--ttl', 'soon'],
      ['revoke'],
      ['revoke', 'edge-1', '--serial', '01'],
      ['revoke', 'edge-1', '--reason', 'bored'],
      ['revoke', '--serial', 'xyz'],
      ['lift', '--serial', '01', '--rejoin'],
      ['quarantine', 'Not_A_Name'],
      ['send', 'edge-1'],
      ['nodes', 'list', '-o', 'xml'],
      ['send', 'edge-1', '--resource', 'a/b', '--operation', 'update', '--content', 'hello'],
      ['config', 'view', '--set', 'https.prot=1'],
      ['send', 'Not_A_Name', '--resource', 'a/b', '--operation', 'update'],
    ]) {
      const { code, stderr, stdout } = await run(...args);
      expect([args.join(' '), code]).toEqual([args.join(' '), 2]);
      expect(stderr + stdout).not.toBe('');
      expect(stderr).not.toContain('    at ');
    }
    for (const address of ['localhost:99999', 'https://localhost', 'a b']) {
      const { code, stderr } = await at(address);
      expect([code, stderr]).toEqual([2, expect.stringContaining(`${address} is no HOST:PORT`)]);
    }
  });

  test('failures exit with 1, with the cause and the next step, never with a stack', async () => {
    const missing = await run('nodes', 'show', 'nobody');
    expect(missing.code).toBe(1);
    expect(missing.stderr).toContain('node nobody has no session');
    const down = await at('127.0.0.1:1');
    expect([down.code, down.stderr]).toEqual([
      1,
      expect.stringContaining('no gateway answers at 127.0.0.1:1'),
    ]);
    const noCredentials = await sallyport(['nodes', 'list', '--set', `secretStore.path=${folder}/nowhere`]);
    expect([noCredentials.code, noCredentials.stderr]).toEqual([
      1,
      expect.stringContaining('no admin certificate was found'),
    ]);
    // The port of another listener is what people confuse most.
    const https = await at(gateway.ready.https);
    expect([https.code, https.stderr]).toEqual([
      1,
      expect.stringContaining('what answers there is not the admin API'),
    ]);
    const joining = [
      'edge',
      'run',
      '--node',
      'a',
      '--token',
      (await run('token', 'create', '--fleet')).stdout,
    ];
    const websocket = await run(
      ...joining,
      '--directory',
      join(folder, 'a'),
      '--hub',
      gateway.ready.websocket,
    );
    expect([websocket.code, websocket.stderr]).toEqual([1, expect.stringContaining('is 10002 by default')]);
    const file = join(folder, 'file');
    writeFileSync(file, '');
    const noFolder = await run(...joining, '--directory', join(file, 'a'));
    expect([noFolder.code, noFolder.stderr]).toEqual([1, expect.stringContaining('NODE_FOLDER_UNUSABLE')]);
    const [cert, key] = [join(folder, 'ca.crt'), join(folder, 'admin.key')];
    const noPair = await run('nodes', 'list', '--cert', cert, '--key', key);
    expect([noPair.code, noPair.stderr]).toEqual([1, expect.stringContaining('ADMIN_CREDENTIALS_UNUSABLE')]);
    const noHub = await run('health', '--set', 'https.port=1');
    expect([noHub.code, noHub.stderr]).toEqual([1, expect.stringContaining('no gateway answers')]);
    const said = [missing, down, noCredentials, https, websocket, noFolder, noPair, noHub].map(
      ({ stderr }) => stderr,
    );
    expect(said.join('')).not.toContain('    at ');
    expect(down.stderr.match(/ECONNREFUSED/g)).toHaveLength(1);
  });

  test('config view --show-origin names where each value comes from, and an invalid file stops the start with 2', async () => {
    const file = join(folder, 'g.yaml');
    writeFileSync(file, 'log:\n  level: warn\n');
    const { stdout } = await sallyport(['config', 'view', '--show-origin', '--config', file], {
      env: { SALLYPORT_HUB_NODE_LIMIT: '7' },
    });
    expect(stdout).toMatch(new RegExp(`log\\.level +"warn" +${file}:2`));
    expect(stdout).toMatch(/hub\.nodeLimit +7 +SALLYPORT_HUB_NODE_LIMIT/);
    writeFileSync(file, 'logs: {}\n');
    const bad = await sallyport(['serve', '--config', file]);
    expect([bad.code, bad.stderr]).toEqual([
      2,
      expect.stringContaining(`${file}:1: unknown key logs; did you mean log?`),
    ]);
  });

  test('edge run ends with 1 when the hub says never', async () => {
    await using hub = await MiniHub.start();
    const port = hub.address.split(':')[1]!;
    const directory = temporaryFolder();
    // In a process of its own, which has to end although its standard input stays open.
    const edge = sallyportProcess([
      ...['edge', 'run', '--node', 'edge-1', '--hub', '127.0.0.1', '--token', hub.token],
      ...['--directory', directory, '--transport', 'websocket'],
      ...['--set', `https.port=${port}`, '--set', `websocket.port=${port}`],
    ]);
    await eventually('it is connected', () => hub.sessions.length === 1);
    hub.closeWith(closeReason('Revoked'));
    const { code, stderr } = await edge;
    expect([code, stderr]).toEqual([1, expect.stringContaining('the certificate or node is revoked')]);
    expect(stderr).toContain('not trying again');
  });

  test('--help gives examples', async () => {
    for (const command of [['serve'], ['token', 'create'], ['send'], ['edge', 'run'], ['watch']]) {
      const { code, stdout } = await sallyport([...command, '--help']);
      expect([code, stdout]).toEqual([0, expect.stringContaining('Examples:')]);
    }
  });

  test('prepare-certs works on an empty folder and changes nothing the second time', async () => {
    const own = temporaryFolder();
    const first = await sallyport(['prepare-certs', '--set', `secretStore.path=${own}`]);
    const second = await sallyport(['prepare-certs', '--set', `secretStore.path=${own}`]);
    expect([first.code, second.code]).toEqual([0, 0]);
    expect(second.stdout).toBe(first.stdout);
  });

  test('a port that is taken is reported with the setting to change', async () => {
    const taken = gateway.ready.websocket.split(':').at(-1)!;
    // In a process of its own: nothing that a failed start left behind may keep it alive.
    const { code, stderr } = await sallyportProcess([
      'serve',
      '--set',
      `secretStore.path=${folder}`,
      '--set',
      'https.port=0',
      '--set',
      'admin.port=0',
      '--set',
      'quic.enabled=false',
      '--set',
      'websocket.host=127.0.0.1',
      '--set',
      `websocket.port=${taken}`,
    ]);
    expect(code).toBe(1);
    expect(stderr).toContain('websocket.port');
  });

  test('V7: the commands of docs/audit.md and docs/operations.md run as they stand there', async () => {
    const pages = ['docs/audit.md', 'docs/operations.md'];
    const blocks = shellBlocks(pages).filter(
      ({ runBy }) => runBy === 'test/integration/command-line.test.ts',
    );
    const commands = blocks.flatMap((block) => block.commands.map((words) => sallyportWords(words)!));
    expect(commands.length).toBeGreaterThanOrEqual(7);
    const env = { SALLYPORT_PASSPHRASE: 'with many letters' };
    for (const words of commands) {
      const inFolder = words.map((word) => (word === 'fleet.backup' ? join(folder, word) : word));
      const { code, stderr } = await runWith({ env }, ...inFolder);
      expect(code, `${words.join(' ')}: ${stderr}`).toBe(0);
    }
  });
});
