import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { createBackup } from '../../src/cli/backup/backup-create.ts';
import { checkHere } from '../../src/cli/commands/doctor.ts';
import { processTerminal } from '../../src/cli/terminal.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { CaRolloverStatus } from '../../src/contracts/ca-rollover.ts';
import { joinAsEdgeCore } from '../support/edges/edgecore.ts';
import { eventually } from '../support/eventually.ts';
import type { PolicyRule } from '../support/kube/kube-api.ts';
import { type KubeGateway, startOnCluster } from '../support/kube/kube-gateway.ts';
import { CLUSTER_USERS, LocalCluster } from '../support/kube/local-cluster.ts';

const MODEST = { 'limits.connections': '100', 'hub.nodeLimit': '100', 'hub.queue.bytes': '1000000' };
const manifest = (path: string) =>
  parse(readFileSync(`deploy/kustomize/${path}`, 'utf8')) as { metadata: object; subjects?: object[] };
const { rules } = manifest('role.yaml') as unknown as { rules: PolicyRule[] };

let cluster: LocalCluster;
const before = process.env.KUBECONFIG;
beforeAll(async () => {
  cluster = await LocalCluster.start();
  const rbac = '/apis/rbac.authorization.k8s.io/v1';
  const here = `${rbac}/namespaces/kubeedge`;
  const bound = (path: string) => {
    const { subjects = [], ...rest } = manifest(path);
    return { ...rest, subjects: subjects.map((subject) => ({ ...subject, namespace: 'kubeedge' })) };
  };
  await cluster.create(`${here}/roles`, manifest('role.yaml'));
  await cluster.create(`${here}/rolebindings`, bound('rolebinding.yaml'));
  await cluster.create(`${rbac}/clusterrolebindings`, bound('bearer-tokens/auth-delegator.yaml'));
}, 180_000);
afterAll(async () => {
  if (before === undefined) delete process.env.KUBECONFIG;
  else process.env.KUBECONFIG = before;
  await cluster[Symbol.asyncDispose]();
});

function start(): Promise<KubeGateway> {
  const credentials = async () => ({
    bearerToken: CLUSTER_USERS.admin.token,
    ca: new X509Certificate((await cluster.secret('casecret')).cadata!).toString(),
  });
  return startOnCluster(
    { kubeconfig: cluster.kubeconfig('gateway'), credentials },
    { settings: { ...MODEST, 'certificates.checkMs': '500', 'certificates.historySyncMs': '500' } },
  );
}

/** What a person with the rights of the cluster's administrator runs on the command line. */
function commandLine(hub: KubeGateway) {
  process.env.KUBECONFIG = join(cluster.folder, 'admin.kubeconfig');
  writeFileSync(process.env.KUBECONFIG, cluster.kubeconfig('admin'));
  const port = (name: 'https' | 'websocket' | 'admin') => ({ [`${name}.port`]: String(hub.port(name)) });
  const set = {
    ...MODEST,
    'secretStore.kind': 'kubernetes',
    ...port('https'),
    ...port('websocket'),
    ...port('admin'),
  };
  const file = (name: string) => join(cluster.folder, name);
  writeFileSync(file('passphrase'), 'correct horse battery staple', { mode: 0o600 });
  return {
    backUp: () =>
      createBackup(processTerminal(), loadConfig({ flags: set }), {
        out: file('fleet.backup'),
        force: true,
        passphraseFile: file('passphrase'),
      }),
    trouble: async () =>
      (await checkHere(processTerminal(), { set }))
        .filter(({ status }) => status === 'warning' || status === 'failure')
        .map(({ check, title, detail }) => `${check}: ${title} (${detail})`),
  };
}

test('A6, R2: a life with the shipped Role: the API refuses nothing, every right is used, and doctor finds nothing in any phase of a CA rollover', async () => {
  const hub = await start();
  const { admin } = hub;
  try {
    const run = commandLine(hub);
    const healthy = (phase: string) =>
      eventually(
        `doctor finds nothing ${phase}`,
        async () => {
          const trouble = await run.trouble();
          if (trouble.length > 0) seen = trouble;
          return trouble.length === 0;
        },
        30_000,
      ).catch(() => expect(seen, phase).toEqual([]));
    let seen: string[] = [];

    await admin.post('/api/v1/certificates/hub/rotate');
    for (const node of ['edge-1', 'edge-2']) {
      const { token } = await admin.post<{ token: string }>('/api/v1/tokens', { node });
      expect((await joinAsEdgeCore(hub.port('https'), { node, token })).answer.status).toBe(200);
      await admin.post(`/api/v1/nodes/${node}/forget`);
    }
    for (let time = 0; time < 2; time++) await admin.post('/api/v1/tokens/revoke-all');
    await admin.post('/api/v1/revocations', { node: 'edge-2', reason: 'keyCompromise' });
    await run.backUp();
    await healthy('at first');

    const status = () => admin.get<CaRolloverStatus>('/api/v1/ca/rollover');
    for (const [step, phase] of [
      ['prepare', 'prepared'],
      ['activate', 'active'],
      ['retire', 'retiring'],
      ['revoke', 'idle'],
    ] as const) {
      const isPossible = async () =>
        (await status()).next.some((one) => one.step === step && one.blockers.length === 0);
      await eventually(`${step} can be done`, isPossible);
      await admin.post(`/api/v1/ca/rollover/${step}`, {});
      await eventually(`it is ${phase}`, async () => (await status()).phase === phase);
      if (step === 'activate') await run.backUp();
      await healthy(phase);
    }
  } finally {
    await hub[Symbol.asyncDispose]();
  }

  const own = cluster.audit().filter(({ user }) => user.username === CLUSTER_USERS.gateway.username);
  expect(own.length).toBeGreaterThan(100);
  const nameOf = ({ verb, objectRef }: (typeof own)[number]) =>
    `${verb} ${objectRef?.resource} ${objectRef?.name ?? ''}`.trim();
  expect(own.filter(({ responseStatus }) => responseStatus?.code === 403).map(nameOf)).toEqual([]);
  const asked = new Set(own.map(nameOf));
  const granted = rules.flatMap(({ verbs, resources, resourceNames }) =>
    verbs.flatMap((verb) =>
      resources!.flatMap((resource) =>
        (resourceNames ?? ['']).map((name) => `${verb} ${resource} ${name}`.trim()),
      ),
    ),
  );
  const isUsed = (name: string) => {
    // Further Secrets of the history are used as the first one, once that is full.
    const right = name.replace(/ (sallyport-history)-\d+$/, ' $1');
    // RBAC cannot limit `create` by name, so the name does not matter.
    return [...asked].some(
      (one) => one === right || (right.split(' ').length === 2 && one.startsWith(`${right} `)),
    );
  };
  expect(granted.filter((right) => !isUsed(right))).toEqual([]);
});

test('R1, R4: the API freezes for 40 s, thaws, is killed and comes back: the gateway stays ready, metrics are scraped throughout, and it works again by itself', async () => {
  await using hub = await start();
  const { admin } = hub;
  const scrape = async () => (await admin.text('/metrics')).status;
  const ready = async () => (await admin.text('/readyz')).status;
  const worksAgain = () =>
    eventually('it can rotate', () =>
      admin.post('/api/v1/certificates/hub/rotate').then(
        () => true,
        () => false,
      ),
    );
  expect(await scrape()).toBe(200);

  await cluster.signalApi('SIGSTOP');
  const frozenAt = performance.now();
  const statuses = new Set<string>();
  while (performance.now() - frozenAt < 40_000) {
    statuses.add(`${await scrape()} ${await ready()}`);
    await delay(1_000);
  }
  expect([...statuses]).toEqual(['200 200']);
  expect((await admin.text('/api/v1/info')).status).toBe(503);
  await cluster.signalApi('SIGCONT');
  await worksAgain();

  await cluster.signalApi('SIGKILL');
  expect(await ready()).toBe(200);
  await cluster.startApi();
  await worksAgain();
  expect(await scrape()).toBe(200);
});
