import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { goGet, joinAsEdgeCore } from '../support/edges/edgecore.ts';
import { servedCertificate } from '../support/edges/serving.ts';
import { eventually } from '../support/eventually.ts';
import { KubeFleet, portOf, probe, putHub, servedCa, storedCa } from '../support/kube/kube-fleet.ts';
import { mintCa, mintServer } from '../support/pki/pki.ts';

const DAY_MS = 86_400_000;
/** A third of it is the interval in which the fleet token is written once. */
const FLEET_TTL_MS = 15_000;
const REPLICAS = ['a', 'b', 'c', 'd'];

describe('replicas in processes of their own, on one API server', () => {
  let fleet: KubeFleet;
  let replicas: Awaited<ReturnType<KubeFleet['start']>>;
  const served = () =>
    Promise.all(
      replicas.map(async ({ ready }) => (await servedCertificate(portOf(ready.websocket))).serialNumber),
    );
  const allServe = (serial: string) =>
    eventually(`all serve ${serial}`, async () => (await served()).every((one) => one === serial));
  const fleetToken = () => fleet.data('tokensecret', 'tokendata').toString();

  beforeAll(async () => {
    fleet = await KubeFleet.start({
      'certificates.checkMs': '500',
      'secretStore.resyncMs': '1000',
      'tokens.fleetTtlMs': String(FLEET_TTL_MS),
      'limits.enrolmentsPerMinutePerIp': '1000000',
      'limits.enrolmentsPerMinute': '1000000',
    });
    replicas = await fleet.start(REPLICAS);
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  test('A1: started at once on an empty namespace they have one CA, created once, and serve it byte for byte', async () => {
    const cas = await Promise.all(replicas.map(servedCa));
    for (const ca of cas) expect(ca.equals(fleet.data('casecret', 'cadata'))).toBe(true);
    expect(new Set(replicas.map(({ ready }) => ready.caSha256))).toEqual(new Set([fleet.caSha256()]));
    expect(fleet.writesOf('casecret')).toEqual(['create']);
    expect(fleet.writesOf('cloudcoresecret')).toEqual(['create']);
    expect(fleet.writesOf('sallyport-tokens')).toEqual(['create']);
    await allServe(fleet.hubCertificate().serialNumber);
  });

  test('B4: a renewal that is due on all of them at once is one write, and all serve its certificate', async () => {
    const due = await mintServer(storedCa(fleet.api), {
      notBefore: new Date(Date.now() - 80 * DAY_MS),
      notAfter: new Date(Date.now() + 10 * DAY_MS),
    });
    const before = fleet.writesOf('cloudcoresecret').length;
    putHub(fleet.api, due);
    await eventually(
      'it is renewed',
      () => fleet.hubCertificate().serialNumber !== due.certificate.serialNumber,
    );
    await allServe(fleet.hubCertificate().serialNumber);
    // Two more rounds of the periodic check on every replica, and nobody writes again.
    const reads = () => fleet.api.calls.filter(({ verb }) => verb === 'list').length;
    const until = reads() + 2 * 3 * REPLICAS.length;
    await eventually('two more full reads', () => reads() >= until);
    expect(fleet.writesOf('cloudcoresecret').slice(before)).toEqual(['update']);
    expect(fleet.writesOf('casecret')).toEqual(['create']);
  });

  test('E3: the fleet token is written once an interval, and any of them accepts what the Secret holds', async () => {
    const intervalMs = FLEET_TTL_MS / 3;
    const writes = () => fleet.writesOf('tokensecret').length;
    const from = writes();
    await eventually('an interval begins', () => writes() > from);
    const [startedAt, first] = [Date.now(), writes()];
    await eventually('two intervals pass', () => writes() >= first + 2);
    // The token counts whole seconds, so an interval may seem one second shorter.
    expect(Date.now() - startedAt).toBeGreaterThan(2 * (intervalMs - 1_000) - 500);
    const token = fleetToken();
    const joins = await Promise.all(
      replicas.map(({ ready }, index) =>
        joinAsEdgeCore(portOf(ready.https), { node: `edge-${index}`, token }),
      ),
    );
    expect(joins.map(({ answer }) => answer.status)).toEqual(replicas.map(() => 200));
  });

  test('a replica that is cut off from the API serves on, says so, stays ready, and catches up', async () => {
    const [cut] = replicas;
    const before = fleet.hubCertificate().serialNumber;
    cut!.relay.cut();
    await eventually('it says so', async () =>
      (await probe(cut!.ready.https, 'readyz')).text.includes('[+]store ok (reason withheld)'),
    );
    const next = await mintServer(storedCa(fleet.api));
    putHub(fleet.api, next);
    await eventually('the others follow', async () =>
      (await served()).slice(1).every((serial) => serial === next.certificate.serialNumber),
    );
    expect((await served())[0]).toBe(before);
    expect((await servedCa(cut!)).equals(fleet.data('casecret', 'cadata'))).toBe(true);
    expect((await probe(cut!.ready.https, 'livez')).status).toBe(200);
    expect((await probe(cut!.ready.https, 'readyz')).status).toBe(200);
    // Whether a token was used or revoked elsewhere cannot be known, so nobody joins through it once what it
    // knew is 5 s old.
    let joins = 0;
    await eventually('nobody joins through it', async () => {
      const node = `edge-cut-${joins++}`;
      const { answer } = await joinAsEdgeCore(portOf(cut!.ready.https), { node, token: fleetToken() });
      return answer.status === 503;
    });

    cut!.relay.mend();
    await allServe(next.certificate.serialNumber);
    await eventually(
      'the remark is gone',
      async () => !(await probe(cut!.ready.https, 'readyz')).text.includes('[+]store ok (reason withheld)'),
    );
  });

  test('the CA Secret replaced by another takes every replica out of service, still on the CA it had', async () => {
    const stored = fleet.api.stored('casecret')!;
    const before = await servedCa(replicas[0]!);
    const other = await mintCa();
    const key = other.privateKey.export({ type: 'sec1', format: 'der' });
    fleet.api.put('casecret', {
      data: { cadata: other.der.toString('base64'), cakeydata: key.toString('base64') },
    });
    await eventually('all say so', async () => {
      const probes = await Promise.all(replicas.map(({ ready }) => probe(ready.https, 'readyz')));
      return probes.every(({ status, text }) => status === 500 && text.includes('[-]ca failed'));
    });
    for (const replica of replicas) expect((await servedCa(replica)).equals(before)).toBe(true);
    fleet.api.put('casecret', { data: stored.data });
    await eventually('all are ready again', async () => {
      const probes = await Promise.all(replicas.map(({ ready }) => probe(ready.https, 'readyz')));
      return probes.every(({ status }) => status === 200);
    });
    expect(fleet.writesOf('casecret')).toEqual(['create']);
  });

  test('a rolling restart under load: every answer of a replica that is not stopping is the same CA', async () => {
    const ca = fleet.data('casecret', 'cadata');
    let serving = [...replicas];
    let answers = 0;
    const wrong: unknown[] = [];
    let rolling = true;
    let underWay: Promise<unknown> = Promise.resolve();
    const load = (async () => {
      while (rolling) {
        const target = serving[answers++ % serving.length]!;
        const request = goGet(portOf(target.ready.https), '/ca.crt').catch((error: unknown) => error);
        underWay = request;
        const answer = await request;
        const body = (answer as { body?: Buffer }).body;
        if (!body?.equals(ca)) wrong.push(answer instanceof Error ? answer.message : body?.toString());
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
    for (const [index, old] of [...replicas].entries()) {
      const [fresh] = await fleet.start([`${REPLICAS[index]}2`]);
      // As the endpoints of a Service and a preStop hook do: out first, a moment for what was on its way,
      // then the signal.
      serving = [...serving.filter((one) => one !== old), fresh!];
      await underWay;
      await old[Symbol.asyncDispose]();
    }
    rolling = false;
    await load;
    replicas = serving;
    expect(wrong).toEqual([]);
    expect(answers).toBeGreaterThan(20);
    expect(fleet.writesOf('casecret')).toEqual(['create']);
    expect(new Set(serving.map(({ ready }) => ready.caSha256))).toEqual(new Set([fleet.caSha256()]));
  });
});
