import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { createBackup } from '../../src/cli/backup/backup-create.ts';
import { checkHere } from '../../src/cli/commands/doctor.ts';
import { connectAdmin } from '../../src/cli/context.ts';
import { formatFindings } from '../../src/cli/doctor/view.ts';
import { processTerminal } from '../../src/cli/terminal.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { CaRolloverStatus } from '../../src/contracts/ca-rollover.ts';
import { eventually } from '../support/eventually.ts';
import { sallyport } from '../support/fleets/process.ts';
import { readCa, writeSecret } from '../support/fleets/secret-files.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';
import { freePort } from '../support/free-port.ts';
import { KubeApi, type PolicyRule } from '../support/kube/kube-api.ts';
import { startKubeGateway } from '../support/kube/kube-gateway.ts';
import { mintCa, mintServer } from '../support/pki/pki.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

interface Line {
  readonly check: string;
  readonly status: string;
  readonly title: string;
  readonly detail?: string;
  readonly hint?: string;
  readonly docs?: string;
  readonly yaml?: string;
}

/** @returns exit code, and every line that is no √, as JSON has them */
async function doctor(set: Readonly<Record<string, string>>, more: { ca?: string } = {}) {
  const findings = await checkHere(processTerminal(), { set, ...more });
  const { groups, exitCode } = JSON.parse(formatFindings(findings, { format: 'json', colour: false })) as {
    exitCode: number;
    groups: { findings: Line[] }[];
  };
  const all = groups.flatMap(({ findings }) => findings);
  const trouble = all.filter(({ status }) => status === 'warning' || status === 'failure');
  for (const line of trouble)
    expect([line.hint, line.docs]).toEqual([expect.any(String), expect.any(String)]);
  return { code: exitCode, all, trouble };
}

/** The open files of the machine and the heap are not the subject here. */
const MODEST = {
  'quic.enabled': 'false',
  'limits.connections': '100',
  'hub.nodeLimit': '100',
  'hub.queue.bytes': '1000000',
};

/** Of the command line that asks about this gateway. */
function settingsOf(gateway: TestGateway): Readonly<Record<string, string>> {
  return {
    ...MODEST,
    'secretStore.path': gateway.folder,
    'https.host': '127.0.0.1',
    'websocket.host': '127.0.0.1',
    'quic.enabled': 'true',
    'quic.host': '127.0.0.1',
    ...Object.fromEntries(
      (['https', 'websocket', 'quic', 'admin'] as const).map((name) => [
        `${name}.port`,
        String(gateway.port(name)),
      ]),
    ),
  };
}

describe('a gateway on a folder', () => {
  let gateway: TestGateway;
  let settings: Readonly<Record<string, string>>;
  beforeAll(async () => {
    // On every address, as by default: the doctor knocks at localhost then.
    const quic = { 'quic.enabled': 'true', 'quic.host': '0.0.0.0' };
    gateway = await startTestGateway({ settings: { ...MODEST, ...quic } });
    settings = settingsOf(gateway);
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  test('healthy: exit code 0, every listener shook hands, and the doctor is nobody who was refused', async () => {
    const { code, all, trouble } = await doctor(settings);
    expect(trouble).toEqual([]);
    expect(code).toBe(0);
    const served = all.filter(({ check }) => check === 'served');
    const overTcp = served.filter(({ title }) => !title.startsWith('quic'));
    expect([served.length, overTcp.map(({ status }) => status)]).toEqual([4, ['ok', 'ok', 'ok']]);
    const text = await sallyport([
      'doctor',
      ...Object.entries(settings).flatMap(([path, value]) => ['--set', `${path}=${value}`]),
    ]);
    expect(text.stdout).toContain('√ the gateway answers at');
    expect([text.code, text.stderr, text.stdout]).toEqual([0, '', expect.stringContaining('all is well')]);
  });

  test('an address that is not covered: one line, exit code 2', async () => {
    const { code, trouble } = await doctor({ ...settings, 'advertise.addresses': 'localhost,10.9.8.7' });
    expect([code, trouble.map(({ check }) => check)]).toEqual([2, ['hub-names']]);
    expect(trouble[0]!.detail).toContain('10.9.8.7');
  });

  test('another CA on the command line: it says that the gateway presents another, and checks the store', async () => {
    const file = join(gateway.folder, '..', 'other-ca.crt');
    writeFileSync(file, (await mintCa()).pem);
    const { code, all, trouble } = await doctor(settings, { ca: file });
    expect(code).toBe(2);
    const line = trouble.find(({ check }) => check === 'gateway');
    expect(line).toMatchObject({ status: 'failure', detail: expect.stringMatching(/^wrong CA/) });
    expect(all.filter(({ check }) => check === 'ca')).toMatchObject([{ status: 'ok' }]);
  });

  test('a Secret loses a key: it is named, and the gateway is said to go on with the last good one', async () => {
    const file = join(gateway.folder, 'casecret.yaml');
    const before = readFileSync(file, 'utf8');
    const { data } = parse(before) as { data: Record<string, string> };
    const rest = Object.fromEntries(
      Object.entries(data)
        .filter(([key]) => key !== 'cakeydata')
        .map(([key, value]) => [key, Buffer.from(value, 'base64')]),
    );
    writeSecret(gateway.folder, 'casecret', rest);
    try {
      const { code, trouble } = await doctor(settings);
      expect(code).toBe(2);
      expect(trouble.find(({ check }) => check === 'secret-whole')).toMatchObject({
        title: 'Secret casecret is not usable',
        detail: 'secret casecret lacks the key cakeydata',
      });
      await eventually('the gateway has seen it', async () =>
        (await doctor(settings)).trouble.some(({ check }) => check === 'store-drift'),
      );
    } finally {
      writeFileSync(file, before, { mode: 0o600 });
    }
    await eventually('all is well again', async () => (await doctor(settings)).code === 0);
  });

  test('a refused node is a warning with what to do, exit code 1', async () => {
    const { request } = await import('node:https');
    const edge = await mintServer(await mintCa());
    const status = await new Promise((resolve, reject) => {
      const to = { host: '127.0.0.1', port: gateway.port('websocket'), rejectUnauthorized: false };
      request({ ...to, cert: edge.pem, key: edge.key }, ({ statusCode }) => resolve(statusCode))
        .on('error', reject)
        .end();
    });
    expect(status).toBe(401);
    const { code, trouble } = await doctor(settings);
    expect([code, trouble.map(({ check }) => check)]).toEqual([1, ['rejections']]);
    expect(trouble[0]).toMatchObject({ title: expect.stringContaining('unknown-ca') });
  });
});

test('R2: in every phase of a CA rollover a healthy gateway is healthy, and a backup is what it holds', async () => {
  await using gateway = await startTestGateway({
    settings: { ...MODEST, 'quic.enabled': 'true', 'certificates.checkMs': '200' },
  });
  const settings = settingsOf(gateway);
  const backup = join(gateway.folder, '..', 'fleet.backup');
  const passphrase = join(gateway.folder, '..', 'passphrase');
  writeFileSync(passphrase, 'correct horse battery staple', { mode: 0o600 });
  const loaded = loadConfig({ flags: settings });
  const save = () =>
    createBackup(processTerminal(), loaded, { out: backup, force: true, passphraseFile: passphrase });
  // Each time anew, as the command line does: its certificate changes with the CA.
  const admin = () => connectAdmin(processTerminal(), { set: settings });
  const status = () => admin().get<CaRolloverStatus>('/api/v1/ca/rollover');
  const step = async (name: string, phase: string) => {
    await eventually(`${name} can be done`, async () =>
      (await status()).next.some((one) => one.step === name && one.blockers.length === 0),
    );
    await admin().post(`/api/v1/ca/rollover/${name}`, {});
    // With the last step the administrators' certificate is issued anew as well.
    const isThere = async () => (await status()).phase === phase;
    await eventually(`it is ${phase}`, () => isThere().catch(() => false));
  };
  const look = async () => {
    // What is stored is in use a moment later.
    let seen = await doctor(settings);
    const LATE = ['store-drift', 'served', 'fleet-token', 'gateway'];
    const isSettled = () => !seen.trouble.some(({ check }) => LATE.includes(check));
    await eventually('what is stored is in use', async () => {
      if (!isSettled()) seen = await doctor(settings);
      return isSettled();
    });
    return seen;
  };
  const titlesOf = ({ trouble }: { trouble: Line[] }) =>
    trouble.map(({ check, title }) => `${check}: ${title}`);
  const healthy = async () => {
    const seen = await look();
    expect(titlesOf(seen)).toEqual([]);
    return seen.all.find(({ check }) => check === 'backup');
  };

  await save();
  await healthy();
  await step('prepare', 'prepared');
  await healthy();
  await step('activate', 'active');
  const { sha256: issuing } = (await status()).issuing;
  const behind = await look();
  expect(titlesOf(behind)).toEqual(['backup: the CA that issues now is not in the last backup']);
  expect(behind.code).toBe(1);
  await save();
  expect(await healthy()).toMatchObject({
    status: 'ok',
    title: expect.stringContaining('holds the CA in use'),
    detail: expect.stringContaining(`${issuing.slice(0, 16)}…`),
  });
  await step('retire', 'retiring');
  await healthy();
  await step('revoke', 'idle');
  await healthy();
});

describe('a gateway that is down', () => {
  let folder: string;
  let settings: Record<string, string>;
  beforeAll(async () => {
    folder = join(temporaryFolder(), 'secrets');
    const gateway = await startTestGateway({ folder });
    await gateway[Symbol.asyncDispose]();
    const ports = await Promise.all(
      ['https', 'websocket', 'admin'].map(async (name) => [name, await freePort()]),
    );
    settings = {
      ...MODEST,
      'secretStore.path': folder,
      'https.host': '127.0.0.1',
      'websocket.host': '127.0.0.1',
      ...Object.fromEntries(ports.map(([name, port]) => [`${name}.port`, String(port)])),
    };
  });

  test('says so and why, and reads the store itself', async () => {
    const { code, all, trouble } = await doctor(settings);
    expect([code, trouble.map(({ check }) => check)]).toEqual([2, ['gateway']]);
    expect(trouble[0]!.detail).toMatch(/^refused: nothing listens at/);
    expect(all.filter(({ check, status }) => check === 'port' && status === 'ok')).toHaveLength(3);
    expect(all).toContainEqual(expect.objectContaining({ check: 'hub-certificate', status: 'ok' }));
  });

  test('names the port that somebody else has', async () => {
    const thief = createServer().listen(Number(settings['https.port']), '127.0.0.1');
    await once(thief, 'listening');
    try {
      const { code, trouble } = await doctor(settings);
      expect([code, trouble.map(({ check }) => check)]).toEqual([2, ['gateway', 'port']]);
      expect(trouble[1]!.title).toMatch(/\/tcp is taken, https cannot listen/);
    } finally {
      thief.close();
    }
  });

  test('an expired hub certificate', async () => {
    const day = (days: number) => new Date(Date.now() + days * 86_400_000);
    const old = await mintServer(readCa(folder), { notBefore: day(-30), notAfter: day(-2) });
    const file = join(folder, 'cloudcoresecret.yaml');
    const before = readFileSync(file, 'utf8');
    writeSecret(folder, 'cloudcoresecret', {
      cloudcoredata: old.der,
      cloudcorekeydata: old.privateKey.export({ type: 'sec1', format: 'der' }),
    });
    try {
      const { code, trouble } = await doctor(settings);
      expect(code).toBe(2);
      expect(trouble.find(({ check }) => check === 'hub-certificate')).toMatchObject({
        detail: expect.stringContaining('expired at'),
        hint: expect.stringContaining('prepare-certs'),
      });
    } finally {
      writeFileSync(file, before, { mode: 0o600 });
    }
  });
});

describe('on Kubernetes', () => {
  test('a gateway that refuses whoever asks is said to answer, and no port to be taken', async () => {
    await using api = await KubeApi.start();
    await using hub = await startKubeGateway(api);
    // The service account of the gateway itself is known to the cluster, and no administrator.
    api.reviews.users.set('token-1', { username: 'system:serviceaccount:kubeedge:sallyport' });
    const before = process.env.KUBECONFIG;
    const folder = temporaryFolder();
    try {
      process.env.KUBECONFIG = join(folder, 'config');
      writeFileSync(process.env.KUBECONFIG, api.kubeconfig());
      const port = (name: 'https' | 'websocket' | 'admin') => ({ [`${name}.port`]: String(hub.port(name)) });
      const { trouble, all } = await doctor({
        ...MODEST,
        'secretStore.kind': 'kubernetes',
        ...port('https'),
        ...port('websocket'),
        ...port('admin'),
      });
      expect(trouble).toMatchObject([
        {
          check: 'gateway',
          status: 'warning',
          title: expect.stringContaining('the gateway answers'),
          detail: expect.stringContaining('may not get the non-resource URL /sallyport/admin'),
        },
      ]);
      expect(all.filter(({ check }) => check === 'port')).toEqual([]);
    } finally {
      if (before === undefined) delete process.env.KUBECONFIG;
      else process.env.KUBECONFIG = before;
    }
  });

  test('A6: the shipped Role grants all it asks for; a verb that is missing is printed as a rule to apply', async () => {
    await using api = await KubeApi.start();
    const gateway = await startKubeGateway(api);
    await gateway[Symbol.asyncDispose]();
    const before = process.env.KUBECONFIG;
    const folder = temporaryFolder();
    try {
      const kubeconfig = join(folder, 'config');
      writeFileSync(kubeconfig, api.kubeconfig());
      const { rules } = parse(readFileSync('deploy/kustomize/role.yaml', 'utf8')) as { rules: PolicyRule[] };
      const settings = {
        ...MODEST,
        'secretStore.kind': 'kubernetes',
        'admin.port': String(await freePort()),
        'https.port': '0',
        'websocket.port': '0',
      };
      const look = () => doctor(settings);
      process.env.KUBECONFIG = kubeconfig;

      api.rules = rules;
      const granted = await look();
      expect(granted.trouble.map(({ check }) => check)).toEqual(['gateway']);
      expect(granted.all).toContainEqual(
        expect.objectContaining({
          check: 'permission',
          status: 'ok',
          title: expect.stringMatching(/^all \d\d/),
        }),
      );
      expect(granted.all).toContainEqual(
        expect.objectContaining({ check: 'clock', title: expect.stringContaining('the API server agree') }),
      );

      api.rules = rules.map((rule) => ({ ...rule, verbs: rule.verbs.filter((verb) => verb !== 'update') }));
      const { code, trouble } = await look();
      const missing = trouble.filter(({ check }) => check === 'permission');
      expect([code, missing.map(({ title }) => title)]).toEqual([
        2,
        expect.arrayContaining([
          'not allowed: update secrets casecret',
          'not allowed: update secrets cloudcoresecret',
        ]),
      ]);
      const role = parse(missing.at(-1)!.yaml!) as { kind: string; rules: PolicyRule[] };
      expect(role).toMatchObject({ kind: 'Role', metadata: { namespace: 'kubeedge' } });
      expect(role.rules).toContainEqual({
        apiGroups: [''],
        resources: ['secrets'],
        resourceNames: ['casecret'],
        verbs: ['update'],
      });
      // Applied, it mends what it says.
      api.rules = [...api.rules, ...role.rules];
      expect((await look()).trouble.map(({ check }) => check)).toEqual(['gateway']);
    } finally {
      if (before === undefined) delete process.env.KUBECONFIG;
      else process.env.KUBECONFIG = before;
    }
  });
});
