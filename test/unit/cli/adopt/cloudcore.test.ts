import { expect, test } from 'vitest';
import { findCloudCore, reportCloudCore } from '../../../../src/cli/adopt/cloudcore.ts';
import { loadConfig } from '../../../../src/config/load.ts';
import { KubeApiError } from '../../../../src/secrets/kubernetes/kube-errors.ts';

const service = (ports: readonly number[]) => ({ spec: { ports: ports.map((port) => ({ port })) } });
/** As KubeEdge's chart makes them. */
const CLOUDCORE = {
  deployments: {
    spec: {
      replicas: 2,
      template: { spec: { hostNetwork: true, containers: [{ image: 'kubeedge/cloudcore:v1.23.1' }] } },
    },
  },
  services: service([10000, 10001, 10002, 10003, 10004]),
  leases: { spec: { holderIdentity: 'host-1_4f' } },
};
const UPSTREAM = {
  'advertise.addresses': 'hub.example.com,cloudcore-hub.kubeedge',
  'upstream.kind': 'cloudcore',
  'upstream.addresses': 'cloudcore-hub.kubeedge:10000',
  'upstream.tunnelAddresses': 'cloudcore-hub.kubeedge:10004',
  'tunnel.enabled': 'true',
};

async function report(
  objects: Readonly<Record<string, object>>,
  flags: Readonly<Record<string, string>> = {},
): Promise<string[]> {
  const kube = {
    namespace: 'kubeedge',
    call: async ({ path }: { path: string }) => {
      const [, kind = ''] = /^\/apis?\/.*\/namespaces\/kubeedge\/(\w+)\/cloudcore(?:lease)?$/.exec(path)!;
      const found = objects[kind];
      if (found instanceof Error) throw found;
      if (!found) throw new KubeApiError({ status: 404, reason: 'NotFound', kind });
      return found;
    },
  };
  const { config } = loadConfig({ flags });
  return reportCloudCore(await findCloudCore(kube), config).map(
    ({ level, object, text }) => `${level} ${object}: ${text}`,
  );
}

test('CloudCore keeps running: which ports of its Service move is said, and which stay', async () => {
  expect(await report(CLOUDCORE, UPSTREAM)).toEqual([
    'found deployment/cloudcore: 2 of kubeedge/cloudcore:v1.23.1, on the network of its hosts: edges may use their addresses; it keeps running and is not changed',
    'changes service/cloudcore: by you: edges have to reach the gateway at 10000, 10001, 10002, 10004; 10003 stays with CloudCore; CloudCore needs another Service, which only the gateway uses',
    'found lease/cloudcorelease: held by host-1_4f; left alone',
  ]);
});

test.each(['deployments', 'services', 'leases'] as const)(
  'without upstream one line warns, whichever of the three is there: %s',
  async (kind) => {
    const lines = (await report({ [kind]: CLOUDCORE[kind] }, { 'tunnel.enabled': 'true' })).filter((line) =>
      line.startsWith('breaks'),
    );
    expect(lines).toEqual([expect.stringContaining('upstream.kind is none although CloudCore is here')]);
  },
);

test('no CloudCore: not a word', async () => {
  expect(await report({})).toEqual([]);
});

test('what may not be looked at is not taken for absent, and refuses nothing', async () => {
  const forbidden = new KubeApiError({ status: 403, reason: 'Forbidden' });
  const lines = await report({ deployments: forbidden, services: forbidden, leases: forbidden });
  expect(lines).toHaveLength(3);
  for (const line of lines) expect(line).toMatch(/^found .*cannot be seen.*403/);
});

test('a tunnel that nobody listens for, and a gateway that would call itself, are told', async () => {
  const lines = await report(CLOUDCORE, {
    ...UPSTREAM,
    'tunnel.enabled': 'false',
    'upstream.addresses': 'cloudcore.kubeedge.svc:10000',
  });
  const breaks = lines.filter((line) => line.startsWith('breaks'));
  expect(breaks[0]).toContain('tunnel.enabled');
  expect(breaks[1]).toContain('the gateway calls itself');
  expect(breaks[2]).toContain('add cloudcore.kubeedge.svc of upstream.addresses to advertise.addresses');
  expect(breaks).toHaveLength(3);
});

test('a gateway with a hub Secret of its own leaves that of CloudCore alone', async () => {
  const apart = {
    ...UPSTREAM,
    'advertise.addresses': 'hub.example.com',
    'certificates.hubSecret': 'our-hub',
  };
  expect((await report(CLOUDCORE, apart)).join()).not.toContain('breaks');
});
