import { expect, test } from 'vitest';
import type { ServedCertificate } from '../../src/contracts/served-certificates.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';
import { KubeApi } from '../support/kube/kube-api.ts';
import { type KubeGateway, startKubeGateway } from '../support/kube/kube-gateway.ts';

const served = async (hub: Awaited<ReturnType<typeof startTestGateway>>) =>
  (await hub.admin.get<{ items: ServedCertificate[] }>('/api/v1/certificates/served')).items;

test('L1: each listener of every transport is seen to serve the wanted certificate, and the next one after a swap', async () => {
  await using hub = await startTestGateway({
    settings: { 'quic.enabled': 'true', 'webtransport.enabled': 'true', 'hub.replica': 'hub-1' },
  });
  await eventually('all five were looked at', async () => (await served(hub)).length === 5);
  const before = await served(hub);
  expect(before.map(({ listener, problem, replica }) => ({ listener, problem, replica }))).toEqual(
    ['admin', 'https', 'quic', 'websocket', 'webtransport'].map((listener) => ({
      listener,
      problem: undefined,
      replica: 'hub-1',
    })),
  );
  const { certificates } = await hub.admin.get<{ certificates: { kind: string; sha256: string }[] }>(
    '/api/v1/certificates',
  );
  const hubSha256 = certificates.find(({ kind }) => kind === 'hub')!.sha256;
  expect(new Set(before.flatMap(({ servedSha256, wantedSha256 }) => [servedSha256, wantedSha256]))).toEqual(
    new Set([hubSha256]),
  );
  await hub.admin.post('/api/v1/certificates/hub/rotate');
  await eventually('the new one is served everywhere', async () =>
    (await served(hub)).every(
      ({ servedSha256, wantedSha256 }) => servedSha256 === wantedSha256 && servedSha256 !== hubSha256,
    ),
  );
});

test('A6: two replicas on one API server see what each of them serves, and one that stops is no longer listed', async () => {
  await using api = await KubeApi.start();
  const replicas = async ({ admin }: KubeGateway) =>
    (await admin.get<{ items: ServedCertificate[] }>('/api/v1/certificates/served')).items.map(
      ({ replica, listener, servedSha256, wantedSha256, problem }) =>
        `${replica}/${listener} ${problem ?? (servedSha256 === wantedSha256 ? 'ok' : 'other')}`,
    );
  await using one = await startKubeGateway(api, { settings: { 'hub.replica': 'one' } });
  const listeners = ['admin', 'https', 'websocket'];
  const both = ['one', 'two'].flatMap((replica) => listeners.map((name) => `${replica}/${name} ok`));
  {
    await using two = await startKubeGateway(api, { settings: { 'hub.replica': 'two' } });
    for (const gateway of [one, two])
      await eventually('both are seen', async () => (await replicas(gateway)).join() === both.join());
    const writes = () => api.writes.filter(({ name }) => name === 'sallyport-replicas').length;
    const before = writes();
    await eventually('it is looked at again', async () => (await replicas(one)).length === 6);
    expect(writes()).toBe(before);
  }
  expect(await replicas(one)).toEqual(both.slice(0, 3));
});
