import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { freePort } from '../support/free-port.ts';
import type { KubeFault } from '../support/kube/kube-api.ts';
import { KubeFleet, probe } from '../support/kube/kube-fleet.ts';

let fleet: KubeFleet;
beforeEach(async () => {
  fleet = await KubeFleet.start({ 'secretStore.requestTimeoutMs': '2000' });
});
afterEach(() => fleet[Symbol.asyncDispose]());

/** Each once; a read whose connection is lost is repeated at once, so it takes two. */
type Fault = readonly [fault: KubeFault, times: number, logged: string];
const FAULTS: readonly Fault[] = [
  [{ status: 500, reason: 'InternalError' }, 1, 'the API answered 500 InternalError'],
  [{ status: 403, reason: 'Forbidden' }, 1, 'the secret store refuses get on secret casecret'],
  [{ broken: 'stall' }, 1, 'no answer within 2000 ms'],
  [{ broken: 'truncate' }, 2, 'UND_ERR_SOCKET'],
  [{ broken: 'garbage' }, 1, 'the answer is not JSON'],
  [{ html: 404 }, 1, 'the API answered 404'],
  [{ html: 200 }, 1, 'the answer is not JSON'],
];

// In two parts: each further fault is met later, by the back-off.
test.each([
  ['answers with an error or not at all', FAULTS.slice(0, 3)],
  ['answers with something else', FAULTS.slice(3)],
])(
  'A2, H2: the API %s for the CA: nothing is generated, probes say alive and not ready, the cause is logged, and it starts when the fault ends',
  async (_what, faults) => {
    for (const [fault, times] of faults) fleet.api.fail({ verb: 'get', name: 'casecret' }, fault, times);
    const end = fleet.api.fail({ verb: 'get', name: 'casecret' }, { status: 503 });
    const port = await freePort();
    const gateway = await fleet.launch('a', { 'https.port': String(port) });
    const reads = () => fleet.api.calls.filter(({ name }) => name === 'casecret').length;
    await eventually(
      'all faults were met',
      () => reads() > faults.reduce((sum, [, times]) => sum + times, 0),
    );

    for (const [, , logged] of faults) expect(gateway.log()).toContain(logged);
    expect(gateway.log()).toContain('loadOrCreateCa');
    expect(gateway.log()).not.toContain('token-a');
    expect(fleet.api.writes).toEqual([]);
    expect((await probe(port, 'livez')).status).toBe(200);
    expect((await probe(port, 'readyz')).status).toBe(500);

    end();
    const { ready } = await gateway.whenReady;
    expect(ready.caSha256).toBe(fleet.caSha256());
    expect(fleet.writesOf('casecret')).toEqual(['create']);
    expect((await probe(port, 'readyz')).status).toBe(200);
  },
);

test('A1: a create whose answer was lost after it took effect leaves one CA, the one that is served', async () => {
  fleet.api.fail({ verb: 'create', name: 'casecret' }, { broken: 'reset', commit: true }, 1);
  const [gateway] = await fleet.start(['a']);
  expect(gateway!.ready.caSha256).toBe(fleet.caSha256());
  expect(fleet.writesOf('casecret')).toEqual(['create']);
});

test('A3: a CA Secret that lacks its key is not written; the gateway ends and names the key', async () => {
  fleet.api.put('casecret', { data: { cadata: Buffer.from('x').toString('base64') } });
  const gateway = await fleet.launch('a');
  await expect(gateway.whenReady).rejects.toThrow(/ended with 1/);
  expect(gateway.log()).toContain('cakeydata');
  expect(fleet.api.writes).toEqual([]);
});
