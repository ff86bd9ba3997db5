import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Finding } from '../../../../src/cli/doctor/finding.ts';
import { checkPermissions } from '../../../../src/cli/doctor/permissions.ts';
import { checkUpstream } from '../../../../src/cli/doctor/upstream.ts';
import { loadConfig } from '../../../../src/config/load.ts';
import { ManualClock } from '../../../fakes/manual-clock.ts';
import { FakeApi } from '../../../support/cloudcore/fake-api.ts';
import { FakeCloudCore } from '../../../support/cloudcore/fake-cloudcore.ts';
import { eventually } from '../../../support/eventually.ts';
import { mintCa, mintServer, type Pair } from '../../../support/pki/pki.ts';
import { findingsOf, patientOf } from './doctor-fixture.ts';

const DAY_MS = 86_400_000;
let clock: ManualClock;
let ca: Pair;
let cloudcore: FakeCloudCore;
const dates = () => ({
  notBefore: new Date(clock.now() - DAY_MS),
  notAfter: new Date(clock.now() + 90 * DAY_MS),
});
beforeEach(async () => {
  clock = new ManualClock();
  ca = await mintCa(dates());
  const server = await mintServer(ca, dates());
  cloudcore = await new FakeCloudCore({ ca, server, api: new FakeApi(), clock, authorization: true }).start();
});
afterEach(() => cloudcore.kill());

function check(settings: Readonly<Record<string, string>> = {}, issuer = ca): Promise<Finding[]> {
  const flags = { 'upstream.kind': 'cloudcore', 'upstream.addresses': cloudcore.address, ...settings };
  const data = {
    cadata: issuer.der,
    cakeydata: issuer.privateKey.export({ type: 'sec1', format: 'der' }),
  };
  const secrets = new Map([['casecret', { secret: { name: 'casecret', version: '1', data } }]]);
  return checkUpstream({ config: loadConfig({ flags }).config, clock, secrets });
}
const shown = (findings: readonly Finding[]) => findings.map(({ status, title }) => `${status}: ${title}`);

test('a CloudCore that works answers the doctor as a node, and no node loses its connection for it', async () => {
  expect(shown(await check({ 'upstream.tunnelAddresses': cloudcore.tunnelAddress }))).toEqual([
    `ok: CloudCore at ${cloudcore.address} answers a node`,
    `ok: the tunnel of CloudCore at ${cloudcore.tunnelAddress} can be reached`,
  ]);
  expect(cloudcore.connects).toEqual([
    expect.objectContaining({ node: 'sallyport-doctor', certificates: 1 }),
  ]);
  await eventually('it left', () => cloudcore.nodes.length === 0);
  expect(cloudcore.tunnels.size).toBe(0);
});

test.each([
  ['from another CA', async () => mintServer(await mintCa(dates()), dates()), /not from the CA/],
  [
    'for other names',
    () => mintServer(ca, { ...dates(), names: ['elsewhere.example.com'] }),
    /does not name/,
  ],
  [
    'that has expired',
    () => mintServer(ca, { ...dates(), notAfter: new Date(clock.now() - 1000) }),
    /has expired/,
  ],
])(
  'a certificate %s is told, with what to do, and nothing is said to that CloudCore',
  async (_, mint, why) => {
    cloudcore.serve(await mint());
    const [finding] = await check();
    expect(finding).toMatchObject({ status: 'failure', title: expect.stringMatching(/is not trusted$/) });
    expect(finding!.detail).toMatch(why);
    expect(finding!.hint).toContain('upstream.caSecret');
    expect(cloudcore.connects).toEqual([]);
  },
);

test('one that is away and one that refuses are told apart, each in its line', async () => {
  const { address } = cloudcore;
  cloudcore.illness = 'refuses';
  const found = await check({
    'upstream.addresses': `${address},127.0.0.1:9,no.such.name.invalid:10000`,
  });
  expect(found.map(({ status, title }) => [status, title])).toEqual([
    ['failure', `CloudCore at ${address} refuses a node`],
    ['failure', 'CloudCore at 127.0.0.1:9 cannot be reached'],
    ['warning', 'CloudCore at no.such.name.invalid:10000 has a name that is not known here'],
  ]);
  for (const { hint, detail } of found)
    expect([hint, detail]).toEqual([expect.any(String), expect.any(String)]);
});

test('one that lets nodes in and answers nothing is found out', async () => {
  cloudcore.illness = 'zombie';
  const finding = check();
  await eventually('it was asked', () => cloudcore.heard.length === 1);
  await clock.advance(10_000);
  expect((await finding)[0]).toMatchObject({
    status: 'warning',
    title: `CloudCore at ${cloudcore.address} lets a node in and does not answer it`,
  });
});

test('a tunnel that nobody serves is a line of its own', async () => {
  expect(shown(await check({ 'upstream.tunnelAddresses': '127.0.0.1:9' }))).toEqual([
    `ok: CloudCore at ${cloudcore.address} answers a node`,
    'failure: the tunnel of CloudCore at 127.0.0.1:9 cannot be reached',
  ]);
});

test('a CA of its own belongs to the Secrets that have to be there, and that the gateway may only read', async () => {
  const settings = {
    'upstream.kind': 'cloudcore',
    'upstream.addresses': 'cloudcore:10000',
    'upstream.caSecret': 'cloudcore-ca',
  };
  expect(await findingsOf('secret-whole', { settings })).toContainEqual(
    expect.objectContaining({ status: 'failure', title: 'Secret cloudcore-ca is missing' }),
  );
  const asked: string[] = [];
  const kube = {
    namespace: 'edge',
    call: async ({ body }: { body: { spec: { resourceAttributes: { verb: string; name?: string } } } }) => {
      const { verb, name } = body.spec.resourceAttributes;
      asked.push(`${verb} ${name}`);
      return { status: { allowed: true } };
    },
  } as never;
  await checkPermissions({ ...(await patientOf({ settings })), kube });
  expect(asked.filter((right) => right.endsWith(' cloudcore-ca'))).toEqual([
    'get cloudcore-ca',
    'list cloudcore-ca',
    'watch cloudcore-ca',
  ]);
});

test('without upstream there is nothing to look at', async () => {
  expect(shown(await check({ 'upstream.kind': 'none' }))).toEqual([
    'skipped: no CloudCore behind the gateway',
  ]);
});
