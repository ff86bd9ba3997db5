import { expect, test } from 'vitest';
import { parseAdvertisedNames } from '../../../../src/certs/x509/advertised-names.ts';
import { type AdoptionOptions, reportAdoption } from '../../../../src/cli/adopt/adoption-report.ts';
import { loadConfig } from '../../../../src/config/load.ts';
import type { Secret } from '../../../../src/contracts/secret-store.ts';
import { type Clock, systemClock } from '../../../../src/core/clock.ts';
import { type KubeEdgeCluster, kubeEdgeCluster } from '../../../support/pki/kubeedge-pki.ts';
import { mintCa, mintServer } from '../../../support/pki/pki.ts';

const NAMES = ['hub.example.com', '192.0.2.10'];

async function report(
  secrets: KubeEdgeCluster['secrets'],
  {
    addresses = NAMES,
    clock = systemClock,
    flags = {},
    types = {},
  }: {
    addresses?: readonly string[];
    clock?: Clock;
    flags?: Record<string, string>;
    types?: Record<string, string>;
  } = {},
): Promise<string[]> {
  const { config } = loadConfig({ flags });
  const snapshot = new Map<string, Secret>(
    Object.entries(secrets).map(([name, data]) => [
      name,
      {
        name,
        version: '1',
        type: types[name] ?? 'Opaque',
        data: Object.fromEntries(
          Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64')]),
        ),
      },
    ]),
  );
  const options: AdoptionOptions = { ...config, names: parseAdvertisedNames(addresses) };
  const findings = await reportAdoption({ clock }, snapshot, options);
  return findings.map(({ level, object, text }) => `${level} ${object}: ${text}`);
}
const lines = (all: readonly string[], level: string) => all.filter((line) => line.startsWith(level));

test('a KubeEdge cluster whose names are all advertised: everything is kept, and only Secrets that KubeEdge does not know are new', async () => {
  const cluster = await kubeEdgeCluster(NAMES, { hubSubject: 'CN=cloudcore' });
  const all = await report(cluster.secrets);
  expect(lines(all, 'changes')).toEqual([
    'changes sallyport-tokens: is created, with a token key of its own',
    'changes sallyport-revocations: is created: the list of who is shut out',
    'changes sallyport-history: is created: the history of nodes',
    'changes sallyport-replicas: is created: what replicas tell each other',
  ]);
  expect(lines(all, 'blocks')).toEqual([]);
  const found = lines(all, 'found').join('\n');
  expect(found).toContain(`casecret: CA CN=KubeEdge, SHA-256 ${cluster.ca.sha256}`);
  expect(found).toContain('cloudcoresecret: hub certificate for hub.example.com, 192.0.2.10, until 2');
  expect(found).toContain('tokensecret: a kubeedge token, good until');
  expect(lines(all, 'breaks')).toHaveLength(1);
  expect(lines(all, 'breaks')[0]).toContain('CN=kubeedge.io');
  expect(
    lines(await report(cluster.secrets, { flags: { 'identity.allowLegacy': 'true' } }), 'breaks'),
  ).toEqual([]);
  expect(all.join('\n')).not.toContain(cluster.token.split('.')[3]);
});

test('a name that is advertised and not certified means a new hub certificate; one that is certified and not advertised may cut edges off', async () => {
  const { secrets } = await kubeEdgeCluster(NAMES);
  const all = await report(secrets, { addresses: ['hub.example.com', 'new.example.com'] });
  expect(lines(all, 'changes')[0]).toBe(
    'changes cloudcoresecret: a hub certificate is issued from the CA (names) for hub.example.com, new.example.com',
  );
  expect(lines(all, 'breaks')[0]).toContain('take it for self-signed');
  expect(lines(all, 'breaks')[1]).toContain('advertise.addresses lacks 192.0.2.10');
});

test('nothing there: says that a CA is created, and what that means for edges of another', async () => {
  const all = await report({});
  expect(lines(all, 'changes').map((line) => line.split(':')[0])).toEqual([
    'changes casecret',
    'changes sallyport-tokens',
    'changes tokensecret',
    'changes sallyport-revocations',
    'changes sallyport-history',
    'changes sallyport-replicas',
  ]);
  expect(lines(all, 'breaks').join()).toContain('have to join again');
});

test('what would keep the gateway from starting is told as that, without the values', async () => {
  const { secrets } = await kubeEdgeCluster(NAMES);
  const { cakeydata, cadata } = secrets.casecret!;
  const cases: [KubeEdgeCluster['secrets'], RegExp][] = [
    [{ ...secrets, casecret: { cadata: cadata! } }, /cakeydata/],
    [{ ...secrets, casecret: { cadata: 'AAAA', cakeydata: cakeydata! } }, /casecret/],
    [{ ...secrets, 'sallyport-trust': { a: 'AAAA' } }, /sallyport-trust/],
    [{ ...secrets, 'sallyport-tokens': { key: 'AAAA' } }, /sallyport-tokens/],
  ];
  for (const [broken, expected] of cases) {
    const blocks = lines(await report(broken), 'blocks');
    expect(blocks.join()).toMatch(expected);
    expect(blocks.join()).not.toContain(cakeydata!.slice(0, 20));
  }
});

test('a CA or a hub certificate that has ended, and a hub certificate of another CA, are found', async () => {
  const { secrets } = await kubeEdgeCluster(NAMES);
  const inCentury = { ...systemClock, now: () => Date.now() + 364 * 100 * 86_400_000 + 1 };
  expect(lines(await report(secrets, { clock: inCentury }), 'blocks')).toEqual([
    'blocks casecret: the CA has expired',
  ]);
  const nearly = { ...systemClock, now: () => Date.now() + (364 * 100 - 30) * 86_400_000 };
  expect(lines(await report(secrets, { clock: nearly }), 'breaks').join()).toMatch(
    /the CA ends in (29|30) days/,
  );
  const other = await kubeEdgeCluster(NAMES);
  const all = await report({ ...secrets, cloudcoresecret: other.secrets.cloudcoresecret! });
  expect(lines(all, 'changes').join()).toContain('issued from the CA (wrong-ca)');
});

test("A9: cert-manager's Secret is followed and never written; a token of another CA is replaced", async () => {
  const cluster = await kubeEdgeCluster(NAMES);
  const hub = await mintServer(cluster.ca, { names: NAMES });
  const tls = {
    'tls.crt': Buffer.from(hub.pem).toString('base64'),
    'tls.key': Buffer.from(hub.key).toString('base64'),
  };
  const stale = { tokendata: Buffer.from((await kubeEdgeCluster(NAMES)).token).toString('base64') };
  const all = await report(
    { ...cluster.secrets, cloudcoresecret: tls, tokensecret: stale },
    { types: { cloudcoresecret: 'kubernetes.io/tls' }, addresses: ['hub.example.com'] },
  );
  expect(lines(all, 'found').join()).toContain('kubernetes.io/tls: followed, never written');
  expect(lines(all, 'changes').join()).not.toContain('cloudcoresecret');
  expect(lines(all, 'changes').join()).toContain('belongs to another CA');
  const trust = { old: (await mintCa()).der.toString('base64') };
  expect((await report({ ...cluster.secrets, 'sallyport-trust': trust })).join()).toContain(
    '1 further CA(s)',
  );
});
