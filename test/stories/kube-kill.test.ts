import { createPrivateKey } from 'node:crypto';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { servedCertificate } from '../support/edges/serving.ts';
import { eventually } from '../support/eventually.ts';
import { KubeFleet, portOf, putHub, servedCa, storedCa } from '../support/kube/kube-fleet.ts';
import { mintServer } from '../support/pki/pki.ts';

const DAY_MS = 86_400_000;

/**
 * Every call of a start that matters: killed while it is held, with its work not done, or done and not
 * answered.
 */
const STEPS: readonly [verb: string, secret: string, commit: boolean][] = [
  ['get', 'casecret', false],
  ['create', 'casecret', false],
  ['create', 'casecret', true],
  ['get', 'cloudcoresecret', false],
  ['create', 'cloudcoresecret', false],
  ['create', 'cloudcoresecret', true],
  ['get', 'sallyport-trust', false],
  ['create', 'sallyport-tokens', false],
  ['create', 'sallyport-tokens', true],
  ['create', 'tokensecret', false],
  ['create', 'tokensecret', true],
];

/** All Secrets are there, belong together, and every replica serves them. */
async function expectWhole(
  fleet: KubeFleet,
  replicas: Awaited<ReturnType<KubeFleet['start']>>,
): Promise<void> {
  const ca = storedCa(fleet.api);
  expect(ca.certificate.checkPrivateKey(ca.privateKey)).toBe(true);
  expect(fleet.writesOf('casecret')).toEqual(['create']);
  const hub = fleet.hubCertificate();
  const key = fleet.data('cloudcoresecret', 'cloudcorekeydata');
  expect(hub.checkPrivateKey(createPrivateKey({ key, format: 'der', type: 'sec1' }))).toBe(true);
  expect(hub.verify(ca.certificate.publicKey)).toBe(true);
  for (const replica of replicas) {
    expect((await servedCa(replica)).equals(ca.der)).toBe(true);
    await eventually(
      'it serves the stored hub certificate',
      async () =>
        (await servedCertificate(portOf(replica.ready.websocket))).serialNumber ===
        fleet.hubCertificate().serialNumber,
    );
  }
  await eventually('a fleet token of this CA is stored', () =>
    fleet.data('tokensecret', 'tokendata').toString().startsWith(`${ca.sha256}.`),
  );
}

async function kill(gateway: { child: import('node:child_process').ChildProcess }): Promise<void> {
  gateway.child.kill('SIGKILL');
  await once(gateway.child, 'exit');
}

for (const [verb, name, commit] of STEPS) {
  const when = commit ? 'done and not answered' : 'asked and not done';
  test(`A1: killed at its start with "${verb} ${name}" ${when}: the next replica finds or makes everything whole, one CA`, async () => {
    await using fleet = await KubeFleet.start();
    fleet.api.fail({ verb, name }, { broken: 'stall', commit }, 1);
    const victim = await fleet.launch('victim');
    await eventually('the call is held', () =>
      fleet.api.calls.some((call) => call.verb === verb && call.name === name),
    );
    await kill(victim);
    await expectWhole(fleet, await fleet.start(['next']));
  });
}

for (const commit of [false, true]) {
  const when = commit ? 'after its write took effect' : 'before its write took effect';
  test(`B4: the replica that renews the hub certificate is killed ${when}: one new certificate, served by all, same CA`, async () => {
    await using fleet = await KubeFleet.start({
      'certificates.checkMs': '300',
      'secretStore.resyncMs': '1000',
      'secretStore.requestTimeoutMs': '60000',
    });
    const replicas = await fleet.start(['a', 'b', 'c']);
    const due = await mintServer(storedCa(fleet.api), {
      notBefore: new Date(Date.now() - 80 * DAY_MS),
      notAfter: new Date(Date.now() + 10 * DAY_MS),
    });
    const held = { verb: 'update', name: 'cloudcoresecret' };
    const updates = () =>
      fleet.api.calls.filter(({ verb, name }) => verb === held.verb && name === held.name);
    fleet.api.fail(held, { broken: 'stall', commit }, 1);
    const [before, writes] = [updates().length, fleet.writesOf(held.name).length];
    putHub(fleet.api, due);
    await eventually('one of them writes', () => updates().length > before);
    const token = updates()[before]!.token;
    const index = ['token-a', 'token-b', 'token-c'].indexOf(token!);
    await kill(replicas[index]!);
    await eventually(
      'it is renewed',
      () => fleet.hubCertificate().serialNumber !== due.certificate.serialNumber,
    );
    const [again] = await fleet.start([`again`]);
    await expectWhole(fleet, [...replicas.filter((_, at) => at !== index), again!]);
    expect(fleet.writesOf(held.name).slice(writes)).toEqual(['update']);
  });
}
