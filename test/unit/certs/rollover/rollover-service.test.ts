import { X509Certificate } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { NodeEvidence } from '../../../../src/certs/rollover/rollover-nodes.ts';
import { SallyportError } from '../../../../src/core/errors.ts';
import type { ManualClock } from '../../../fakes/manual-clock.ts';
import type { MemorySecretStore } from '../../../fakes/memory-secret-store.ts';
import { ElderReplica } from '../../../support/fleets/elder-replica.ts';
import { presentsChainTo } from '../../../support/fleets/rollover.ts';
import {
  allKnow,
  FORWARD,
  kubeEdgeCa,
  ROLLOVER_SECRET,
  RolloverFleet,
  trusted,
} from '../../../support/fleets/rollover-fleet.ts';
import { mintCa, mintServer } from '../../../support/pki/pki.ts';
import { advanceUntil } from '../../../support/while-advancing.ts';

const DAY_MS = 86_400_000;
let fleet: RolloverFleet;
let store: MemorySecretStore;
let clock: ManualClock;

beforeEach(() => {
  fleet = new RolloverFleet();
  ({ store, clock } = fleet);
});
afterEach(async () => {
  await fleet.stop();
  expect(clock.pending).toBe(0);
});

const node = (name: string, issuerSha256: string, more: Partial<NodeEvidence> = {}): NodeEvidence => ({
  node: name,
  serial: '01',
  issuerSha256,
  notAfter: Date.now() + 200 * DAY_MS,
  connected: true,
  ...more,
});

describe('C1: a rollover of a CA of KubeEdge, without key identifiers', () => {
  test('in every phase nodes that know either CA are presented a chain to it, and certificates come from the phase’s CA', async () => {
    const old = await kubeEdgeCa();
    fleet.putCa(old);
    const hub = await fleet.start();
    expect(trusted(hub)).toEqual([old.sha256]);

    await hub.step('prepare');
    const next = hub.current.cas.rollover.pair!.next;
    const newSha = next.certificate.sha256;
    expect(trusted(hub)).toEqual([old.sha256, newSha]);
    expect(hub.current.current().ca.sha256).toBe(old.sha256);
    expect(hub.current.authority().certificate.sha256).toBe(old.sha256);
    expect(presentsChainTo(hub.current.current(), old.certificate)).toBe(true);

    for (const [step, phase] of [
      ['activate', 'active'],
      ['retire', 'retiring'],
    ] as const) {
      expect(await hub.step(step)).toMatchObject({ phase });
      expect(trusted(hub).sort()).toEqual([old.sha256, newSha].sort());
      expect(hub.current.current().ca.sha256).toBe(newSha);
      expect(hub.current.authority().certificate.sha256).toBe(newSha);
      expect(new X509Certificate(hub.current.current().server.cert).verify(next.x509.publicKey)).toBe(true);
      for (const ca of [old.certificate, next.x509])
        expect(presentsChainTo(hub.current.current(), ca)).toBe(true);
      expect(fleet.storedCa()).toBe(old.sha256);
    }

    expect(await hub.step('revoke')).toMatchObject({ phase: 'idle' });
    expect(trusted(hub)).toEqual([newSha]);
    expect(fleet.storedCa()).toBe(newSha);
    for (const ca of [old.certificate, next.x509])
      expect(presentsChainTo(hub.current.current(), ca)).toBe(true);
    expect(Object.keys(store.peek(ROLLOVER_SECRET)!.data)).not.toContain('newcakeydata');
    expect(hub.manager.status().problem).toBeUndefined();
  });

  test('in idle the CA in use is the current one, before a rollover, after one that ended and after one that was taken back', async () => {
    const old = await kubeEdgeCa();
    fleet.putCa(old);
    let nodes = [node('edge-1', old.sha256)];
    const hub = await fleet.start({ nodes: () => nodes });
    const seen = () => {
      const { nodes: counts, items } = hub.service.status();
      return [counts, ...items.map(({ node, issuedBy, trusts }) => `${node} ${issuedBy} ${trusts}`)];
    };
    const none = { current: 0, old: 0, new: 0, other: 0, dependent: 0 };
    const idle = [{ ...none, total: 1, current: 1 }, 'edge-1 current current'];
    expect(seen()).toEqual(idle);
    await hub.step('prepare');
    expect(seen()).toEqual([{ ...none, total: 1, old: 1 }, 'edge-1 old old']);
    await hub.step('abort');
    expect(seen()).toEqual(idle);

    await hub.step('prepare');
    await hub.step('activate');
    const newSha = hub.service.status().new!.sha256;
    const joinedAt = clock.now();
    nodes = [
      node('edge-1', newSha, { joinedAt: joinedAt - DAY_MS }),
      node('edge-2', newSha, { joinedAt: joinedAt + 1 }),
    ];
    await hub.step('retire');
    await hub.step('revoke');
    nodes.push(node('edge-3', old.sha256));
    // edge-1 verifies the hub with the CA it joined with, by the bridge.
    expect(seen()).toEqual([
      { ...none, total: 3, current: 2, other: 1 },
      'edge-1 current other',
      'edge-2 current current',
      'edge-3 other other',
    ]);
  });

  test('a second rollover after the first still leads nodes of the very first CA to the hub', async () => {
    const first = await kubeEdgeCa();
    fleet.putCa(first);
    const hub = await fleet.start();
    for (let round = 0; round < 2; round++) for (const step of FORWARD) await hub.step(step);
    expect(fleet.storedCa()).not.toBe(first.sha256);
    expect(presentsChainTo(hub.current.current(), first.certificate)).toBe(true);
    expect(trusted(hub)).toHaveLength(1);
  });

  test('the way back: one step at a time, and from every phase both sides verify the hub', async () => {
    const old = await kubeEdgeCa();
    fleet.putCa(old);
    for (const depth of [1, 2, 3]) {
      const hub = await fleet.start();
      for (const step of FORWARD.slice(0, depth)) await hub.step(step);
      const next = hub.current.cas.rollover.pair!.next;
      const phases: string[] = [];
      for (let back = 0; back < depth; back++) {
        phases.push((await hub.step('abort')).phase);
        expect(presentsChainTo(hub.current.current(), old.certificate)).toBe(true);
        // Nodes may have joined with the new CA, and know no other.
        if (depth > 1) expect(presentsChainTo(hub.current.current(), next.x509)).toBe(true);
      }
      expect(phases).toEqual(['active', 'prepared', 'idle'].slice(3 - depth));
      expect(fleet.storedCa()).toBe(old.sha256);
      expect(trusted(hub)).toEqual([old.sha256]);
      expect(hub.current.authority().certificate.sha256).toBe(old.sha256);
      expect(Object.keys(store.peek(ROLLOVER_SECRET)!.data)).not.toContain('newcakeydata');
      await fleet.stop();
    }
  });

  test('what cannot be done in a phase is refused, and a step done before changes nothing', async () => {
    fleet.putCa(await kubeEdgeCa());
    const hub = await fleet.start();
    await expect(hub.step('activate')).rejects.toMatchObject({ code: 'ROLLOVER_PHASE' });
    await expect(hub.step('abort')).rejects.toMatchObject({ code: 'ROLLOVER_PHASE' });
    const { version } = await hub.step('prepare');
    expect((await hub.step('prepare')).version).toBe(version);
    await expect(hub.step('revoke', true)).rejects.toMatchObject({ code: 'ROLLOVER_PHASE' });
  });
});

describe('C4: the evidence', () => {
  test('retire is refused while a node depends on the old CA, which is asked; force does it all the same', async () => {
    const old = await kubeEdgeCa();
    fleet.putCa(old);
    const nodes: NodeEvidence[] = [
      node('edge-1', old.sha256, { agent: 'sallyport-sdk/0.1' }),
      node('edge-12', old.sha256, { connected: false, lastSeen: clock.now() - 9 * DAY_MS }),
    ];
    const hub = await fleet.start({ nodes: () => nodes });
    await hub.step('prepare');
    await hub.step('activate');
    expect(hub.asked).toEqual([]);
    await expect(hub.step('retire')).rejects.toThrow(
      /2 of 2 nodes depend on the old CA: edge-1 connected, to be asked to renew, edge-12 offline for 9 days/,
    );
    expect(hub.asked).toContain(old.sha256);
    expect(hub.service.status()).toMatchObject({ phase: 'active', asking: true });
    const newSha = hub.service.status().new!.sha256;
    nodes[0] = node('edge-1', newSha);
    expect(hub.service.status()).toMatchObject({
      summary: '1 of 2 nodes have a certificate of the new CA; edge-12 offline for 9 days',
      nodes: { total: 2, old: 1, new: 1, dependent: 1 },
      next: [
        { step: 'retire', blockers: ['1 of 2 nodes depends on the old CA: edge-12 offline for 9 days'] },
        { step: 'abort', blockers: [] },
      ],
    });
    expect(await hub.step('retire', true)).toMatchObject({ phase: 'retiring' });
    await expect(hub.step('revoke')).rejects.toMatchObject({ code: 'ROLLOVER_BLOCKED' });
    expect(fleet.storedCa()).toBe(old.sha256);
    expect(await hub.step('revoke', true)).toMatchObject({
      phase: 'idle',
      steps: [
        { step: 'prepare' },
        { step: 'activate' },
        { step: 'retire', forced: true },
        { step: 'revoke', forced: true },
      ],
    });
  });

  test('R3: retire, revoke and the last step back are refused while the history has forgotten nodes that may come back, unless forced', async () => {
    fleet.putCa(await kubeEdgeCa());
    const forgotten = { nodes: 12, since: '2026-01-02T03:04:05.000Z', until: '2027-02-03T04:05:06.000Z' };
    const hub = await fleet.start({ forgotten: () => forgotten });
    const why = /forget 12 nodes \(since 2026-01-02\).*until 2027-02-03.*--force/;
    await hub.step('prepare');
    expect(hub.service.status().warnings.join()).toContain('forget 12 nodes');
    await hub.step('activate');
    await expect(hub.step('retire')).rejects.toMatchObject({ code: 'ROLLOVER_BLOCKED' });
    expect(
      hub.service
        .status()
        .next.find(({ step }) => step === 'retire')!
        .blockers.join(),
    ).toMatch(why);
    await hub.step('abort');
    await expect(hub.step('abort')).rejects.toThrow(why);
    await hub.step('activate');
    await hub.step('retire', true);
    await expect(hub.step('revoke')).rejects.toThrow(why);
    expect(await hub.step('revoke', true)).toMatchObject({ phase: 'idle' });
  });

  test('R3: before a step is weighed, what other replicas know of nodes is read', async () => {
    const old = await kubeEdgeCa();
    fleet.putCa(old);
    const [known, elsewhere] = [[] as NodeEvidence[], [node('edge-1', old.sha256)]];
    const hub = await fleet.start({ nodes: () => known, recall: async () => void known.push(...elsewhere) });
    await hub.step('prepare', true);
    await hub.step('activate', true);
    await expect(hub.step('retire')).rejects.toThrow(/edge-1 connected/);
  });

  test('a node that can neither connect nor renew any more, or is revoked, blocks nothing', async () => {
    const old = await kubeEdgeCa();
    fleet.putCa(old);
    const nodes = [
      node('edge-gone', old.sha256, { connected: false, notAfter: clock.now() - 31 * DAY_MS }),
      node('edge-stolen', old.sha256, { revoked: true }),
    ];
    const hub = await fleet.start({ nodes: () => nodes });
    for (const step of FORWARD) await hub.step(step);
    expect(fleet.storedCa()).not.toBe(old.sha256);
  });

  test('the last step back is refused while a node has a certificate of the new CA', async () => {
    const old = await kubeEdgeCa();
    fleet.putCa(old);
    const nodes: NodeEvidence[] = [];
    const hub = await fleet.start({ nodes: () => nodes });
    await hub.step('prepare');
    await hub.step('activate');
    nodes.push(node('edge-2', hub.service.status().new!.sha256));
    await hub.step('abort');
    expect(hub.asked).toContain(hub.service.status().new!.sha256);
    await expect(hub.step('abort')).rejects.toThrow(/1 of 1 nodes depends on the new CA/);
    nodes[0] = node('edge-2', old.sha256);
    expect(await hub.step('abort')).toMatchObject({ phase: 'idle' });
  });

  test('which CA a node trusts: told by its SDK, else the one it joined with', async () => {
    const old = await kubeEdgeCa();
    fleet.putCa(old);
    const nodes: NodeEvidence[] = [];
    const hub = await fleet.start({ nodes: () => nodes });
    await hub.step('prepare');
    await clock.advance(1_000);
    await hub.step('activate');
    const newSha = hub.service.status().new!.sha256;
    const agent = `sallyport-sdk/0.1 (trusts ${newSha.slice(0, 16)} ${old.sha256.slice(0, 16)})`;
    nodes.push(
      node('a-reports', newSha, { agent }),
      node('b-joined-before', newSha, { joinedAt: clock.now() - DAY_MS }),
      node('c-joined-after', newSha, { joinedAt: clock.now() + 1_000 }),
    );
    const { items, warnings, bridgedUntil } = hub.service.status();
    expect(items.map(({ trusts, trustsFrom }) => [trustsFrom, ...trusts])).toEqual([
      ['reported', 'new', 'old'],
      ['inferred', 'old'],
      ['inferred', 'new'],
    ]);
    expect(warnings).toEqual([expect.stringMatching(/^1 of 3 nodes know/)]);
    expect(bridgedUntil).toBe(old.certificate.validToDate.toISOString());
  });

  test('activate waits for replicas that do not know the new CA yet', async () => {
    fleet.putCa(await kubeEdgeCa());
    const hub = await fleet.start({ replica: 'hub-1' });
    const deaf = store.connect();
    deaf.watchDead = true;
    const late = await fleet.start({ replica: 'hub-2', on: deaf });
    await hub.step('prepare');
    await expect(hub.step('activate')).rejects.toThrow(/not known yet by replica hub-2/);
    deaf.resync();
    await advanceUntil(clock, () => late.service.status().phase === 'prepared');
    await advanceUntil(clock, () => hub.service.status().next[0]!.blockers.length === 0);
    expect(hub.service.status().replicas).toMatchObject([
      { replica: 'hub-1', version: 1 },
      { replica: 'hub-2', version: 1 },
    ]);
    expect(await hub.step('activate')).toMatchObject({ phase: 'active' });
  });

  test('a rolling upgrade from 0.1: a replica of it is waited for, and sees who knows the step', async () => {
    fleet.putCa(await kubeEdgeCa());
    const elder = new ElderReplica({ store: store.connect(), clock }, 'old');
    await elder.start();
    const hub = await fleet.start({ replica: 'new' });
    // As the service of the revocations does.
    hub.board.elders.hear(store.peek('sallyport-revocations')!.data['receipts.json']);
    await hub.step('prepare');
    expect(await elder.acknowledged()).toEqual({ new: 1 });
    await expect(hub.step('activate')).rejects.toThrow(/not known yet by replica old/);
    await elder.acknowledge(1);
    await advanceUntil(clock, () => allKnow(hub));
    expect(await hub.step('activate')).toMatchObject({ phase: 'active' });
    expect(await elder.acknowledged()).toEqual({ new: 2 });
    elder.kill();
  });

  test('without a replica of 0.1 no receipt is written into the Secret of the rollover', async () => {
    fleet.putCa(await kubeEdgeCa());
    const hub = await fleet.start();
    await hub.step('prepare');
    await clock.advance(1_000);
    expect(Object.keys(store.peek(ROLLOVER_SECRET)!.data)).not.toContain('receipts.json');
  });

  test('revoke is refused while the trust Secret holds the old CA', async () => {
    const old = await kubeEdgeCa();
    fleet.putCa(old);
    store.put({ name: 'sallyport-trust', data: { old: Buffer.from(old.pem) } });
    const hub = await fleet.start();
    for (const step of FORWARD.slice(0, 3)) await hub.step(step);
    await expect(hub.step('revoke')).rejects.toThrow(/secret sallyport-trust holds the old CA/);
  });
});

describe('what is not possible is said', () => {
  test('a hub certificate that somebody else keeps', async () => {
    const ca = await mintCa();
    fleet.putCa(ca);
    const hub = await mintServer(ca);
    store.put({
      name: 'cloudcoresecret',
      type: 'kubernetes.io/tls',
      data: { 'tls.crt': Buffer.from(hub.pem), 'tls.key': Buffer.from(hub.key) },
    });
    const replica = await fleet.start();
    await expect(replica.step('prepare', true)).rejects.toMatchObject({
      code: 'ROLLOVER_IMPOSSIBLE',
      message: expect.stringContaining('cloudcoresecret is kept by somebody else'),
    });
    expect(store.peek(ROLLOVER_SECRET)).toBeUndefined();
  });

  test('another CA in the CA Secret under a rollover changes nothing', async () => {
    const old = await kubeEdgeCa();
    fleet.putCa(old);
    const hub = await fleet.start();
    await hub.step('prepare');
    await hub.step('activate');
    const before = hub.current.current().fingerprint;
    fleet.putCa(await mintCa());
    await clock.advance(1_000);
    expect(hub.current.current().fingerprint).toBe(before);
    await expect(hub.step('retire')).rejects.toMatchObject({ code: 'CA_INVALID' });
    fleet.putCa(old);
    await clock.advance(1_000);
    expect(await hub.step('retire')).toMatchObject({ phase: 'retiring' });
  });

  test('a damaged, vanished or older Secret of the rollover does not end it', async () => {
    const old = await kubeEdgeCa();
    fleet.putCa(old);
    const hub = await fleet.start();
    await hub.step('prepare');
    const prepared = store.peek(ROLLOVER_SECRET)!;
    await hub.step('activate');
    const active = store.peek(ROLLOVER_SECRET)!;
    const before = hub.current.current().fingerprint;
    for (const damage of [
      () => store.remove(ROLLOVER_SECRET),
      () => store.put({ ...active, data: { ...active.data, newcakeydata: Buffer.from('x') } }),
      () => store.put(prepared),
    ]) {
      damage();
      await clock.advance(61_000);
      expect(hub.current.current().fingerprint).toBe(before);
      await expect(hub.step('retire')).rejects.toBeInstanceOf(SallyportError);
    }
    store.put(active);
    await clock.advance(1_000);
    expect(hub.manager.status().problem).toBeUndefined();
    expect(await hub.step('retire')).toMatchObject({ phase: 'retiring' });
  });
});

test('every step leaves an audit line, an event and metrics', async () => {
  fleet.putCa(await kubeEdgeCa());
  const hub = await fleet.start();
  for (const step of FORWARD) await hub.step(step);
  await expect(hub.step('activate')).rejects.toThrow();
  const audits = hub.records().filter(({ audit, step }) => audit === 'ca-rollover' && step !== undefined);
  expect(audits.map(({ step, by, phase }) => [step, by, phase])).toEqual([
    ['prepare', 'admin', 'prepared'],
    ['activate', 'admin', 'active'],
    ['retire', 'admin', 'retiring'],
    ['revoke', 'admin', 'revoking'],
  ]);
  expect(hub.events.map(({ reason, message }) => [reason, message.slice(0, 24)])).toHaveLength(4);
  const text = await hub.metrics.expose();
  expect(text).toContain('sallyport_ca_rollover_phase{phase="idle"} 1');
  expect(text).toContain('sallyport_ca_rollover_steps_total{step="revoke",result="done"} 1');
  expect(text).toContain('sallyport_ca_rollover_steps_total{step="activate",result="refused"} 1');
  expect(JSON.stringify([hub.records(), hub.events])).not.toContain('PRIVATE KEY');
});
