import type { X509Certificate } from 'node:crypto';
import { expect, test } from 'vitest';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { servedCertificate } from '../support/edges/serving.ts';
import { eventually } from '../support/eventually.ts';
import { readCa } from '../support/fleets/secret-files.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';

const SECOND = 1 / 86_400;

test('B4: at two thirds of its life the hub certificate is renewed by itself, by one of two gateways, both serve it, nothing drops', async () => {
  const settings = {
    'certificates.hubDays': String(9 * SECOND),
    'certificates.backdateMs': '0',
    'certificates.checkMs': '300',
  };
  await using one = await startTestGateway({ settings });
  await using two = await startTestGateway({ folder: one.folder, settings });
  await using edge = await EdgeClient.join({
    ...one.edgeOptions('edge-1'),
    token: await one.nodeToken('edge-1'),
  });
  let dropped = 0;
  await edge.connect();
  edge.on('disconnected', () => void dropped++);
  const served = () => Promise.all([one, two].map((hub) => servedCertificate(hub.port('websocket'))));
  const [first, same] = await served();
  expect(same!.serialNumber).toBe(first!.serialNumber);
  const seen = new Map<string, X509Certificate>();
  await eventually('both serve one new certificate', async () => {
    const [a, b] = await served();
    for (const one of [a!, b!]) seen.set(one.serialNumber, one);
    return a!.serialNumber === b!.serialNumber && a!.serialNumber !== first!.serialNumber;
  });
  // One renewal, not one each. A certificate says when it was issued, in whole seconds, and not when a busy
  // machine saw it. That it is no later than two thirds is proved with a clock of ours, in
  // unit/certs/certificate-manager.test.ts.
  const life = first!.validToDate.getTime() - first!.validFromDate.getTime();
  const issued = [...seen.values()].map(({ validFromDate }) => validFromDate.getTime()).sort((a, b) => a - b);
  for (const [n, at] of issued.slice(1).entries()) expect((at - issued[n]!) / life).toBeGreaterThan(0.5);
  const [next] = await served();
  expect(next!.verify(readCa(one.folder).certificate.publicKey)).toBe(true);
  await edge.send({ resource: 'app/alive', operation: 'update', content: 1 });
  expect(dropped).toBe(0);
});

test('B4: a hub certificate never outlives its CA', async () => {
  await using hub = await startTestGateway({
    settings: { 'certificates.caDays': '10', 'certificates.hubDays': '90' },
  });
  const served = await servedCertificate(hub.port('https'));
  expect(served.validToDate.getTime()).toBeLessThanOrEqual(
    readCa(hub.folder).certificate.validToDate.getTime(),
  );
});
