import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LIST_FIELD } from '../../../../src/certs/revocation/revocation-codec.ts';
import { RevocationService } from '../../../../src/certs/revocation/revocation-service.ts';
import type { GatewayEvent } from '../../../../src/contracts/event-recorder.ts';
import type { Secret } from '../../../../src/contracts/secret-store.ts';
import { SallyportError } from '../../../../src/core/errors.ts';
import { createMetrics } from '../../../../src/core/metrics.ts';
import { BOARD_FIELD, SecretReplicaBoard } from '../../../../src/fleet/secret-replica-board.ts';
import { ManualClock, settle } from '../../../fakes/manual-clock.ts';
import { MemorySecretStore } from '../../../fakes/memory-secret-store.ts';
import { capturedLog } from '../../../support/captured-log.ts';
import { metric } from '../../../support/edges/messages.ts';
import { ElderReplica } from '../../../support/fleets/elder-replica.ts';
import { advanceUntil, whileAdvancing } from '../../../support/while-advancing.ts';

const SECRET = 'sallyport-revocations';
const BOARD = 'sallyport-replicas';
const CA = 'a'.repeat(64);
const peer = (nodeName: string, serial = 'F01') => ({ nodeName, serial, issuerSha256: CA, notBefore: 0 });
const down = () => {
  throw new SallyportError('SECRET_STORE_UNAVAILABLE', { problem: 'test' });
};

let clock: ManualClock;
let store: MemorySecretStore;
const running: { stop(): Promise<void> }[] = [];
beforeEach(() => {
  clock = new ManualClock();
  store = new MemorySecretStore();
});
afterEach(async () => {
  const stopped = Promise.all(running.splice(0).map((service) => service.stop()));
  await whileAdvancing(clock, stopped, 10);
});

/** A replica with a store of its own on the same Secrets. */
async function startReplica(replica: string, on = store.connect()) {
  const log = capturedLog();
  const metrics = createMetrics({ process: false });
  const recorded: GatewayEvent[] = [];
  const events = { record: (event: GatewayEvent) => void recorded.push(event) };
  const board = new SecretReplicaBoard({ store: on, clock, log }, () => ({ secret: BOARD, replica }));
  const service = new RevocationService(
    { store: on, board, clock, log, metrics, certificateOf: () => undefined, events },
    () => ({ secret: SECRET, backdateMs: 3_600_000 }),
  );
  const changes: number[] = [];
  service.onChange(() => changes.push(service.current.version));
  await service.load(AbortSignal.timeout(5_000));
  await board.start();
  await service.start(AbortSignal.timeout(5_000));
  const stop = () => service.stop().then(() => board.stop());
  running.push({ stop });
  await settle(20);
  changes.length = 0;
  return { service, board, stop, recorded, store: on, log, metrics, changes };
}

async function advance(ms: number): Promise<void> {
  await clock.advance(ms);
  await settle(30);
}

const revoke = (service: RevocationService, node: string, by = 'admin') =>
  service.revoke({ target: { node }, reason: 'keyCompromise', by });
const damage = (data: Secret['data']) =>
  store.put({ name: SECRET, data: { ...store.peek(SECRET)!.data, ...data } });

describe('G7: one decision for all replicas', () => {
  test('what one replica decides, the other enforces at once by its watch, and both are in the receipt', async () => {
    const [one, two] = [await startReplica('one'), await startReplica('two')];
    const receipt = await revoke(one.service, 'edge-1', 'alice');
    await settle(50);
    expect(two.service.isRevoked(peer('edge-1'))).toEqual({
      word: 'revoked',
      text: 'keyCompromise, since 2026-01-01T00:00:00Z',
    });
    expect(two.service.isNodeRevoked('edge-1')).toBeDefined();
    expect(two.service.isRevoked(peer('edge-2'))).toBeUndefined();
    expect([one.changes, two.changes]).toEqual([[1], [1]]);
    const later = one.service.receipt(receipt.revocation!.id)!;
    expect(later).toMatchObject({ complete: true, version: 1, revocation: { by: 'alice', node: 'edge-1' } });
    expect(later.replicas.map(({ replica, version, alive }) => [replica, version, alive])).toEqual([
      ['one', 1, true],
      ['two', 1, true],
    ]);
    expect(one.log.lines.find(({ fields }) => fields.audit === 'revoked')?.fields).toMatchObject({
      target: 'node edge-1',
      by: 'alice',
      version: 1,
    });
  });

  test('with a dead watch it takes at most 10 s, and until then the receipt is not complete', async () => {
    const one = await startReplica('one');
    const deaf = store.connect();
    deaf.watchDead = true;
    const two = await startReplica('two', deaf);
    // A heartbeat later each knows of the other.
    await advance(60_000);
    const { revocation } = await revoke(one.service, 'edge-1');
    await settle(50);
    expect(two.service.isRevoked(peer('edge-1'))).toBeUndefined();
    expect(one.service.receipt(revocation!.id)?.complete).toBe(false);
    await advance(5_000);
    expect(two.service.isRevoked(peer('edge-1'))).toBeDefined();
    await advance(5_000);
    expect(one.service.receipt(revocation!.id)?.complete).toBe(true);
  });

  test('decisions made at the same moment on several replicas are all kept', async () => {
    const replicas = await Promise.all(['a', 'b', 'c', 'd'].map((name) => startReplica(name)));
    const all = Promise.all(
      replicas.flatMap(({ service }, index) =>
        Array.from({ length: 5 }, (_, n) => revoke(service, `edge-${index}-${n}`)),
      ),
    );
    await whileAdvancing(clock, all, 10);
    await advanceUntil(clock, () => replicas.every(({ service }) => service.replicas().complete), 10);
    for (const { service } of replicas) expect(service.list().items).toHaveLength(20);
    expect(new Set(replicas[0]!.service.list().items.map(({ id }) => id)).size).toBe(20);
    for (const { service } of replicas) expect(service.replicas().complete).toBe(true);
  });

  test('sessions that were closed stand in the receipt of the entry, with the certificate that was seen', async () => {
    const [one, two] = [await startReplica('one'), await startReplica('two')];
    const unsubscribe = two.service.onChange(() => {
      unsubscribe();
      two.service.sessionEnded({ peer: peer('edge-1', '0F01'), sessionId: 's-1', transport: 'quic' });
    });
    const { revocation } = await revoke(one.service, 'edge-1');
    await settle(100);
    const receipt = one.service.receipt(revocation!.id)!;
    expect(receipt.replicas.map(({ closed }) => closed.length)).toEqual([0, 1]);
    expect(receipt.replicas[1]!.closed[0]).toEqual({
      revocation: 'r1',
      node: 'edge-1',
      sessionId: 's-1',
      transport: 'quic',
      at: new Date(clock.now()).toISOString(),
    });
    expect(receipt.revocation?.certificates).toEqual([{ serial: 'F01', issuerSha256: CA }]);
  });

  test('lifting ends it everywhere; letting rejoin keeps what was issued before out', async () => {
    const [one, two] = [await startReplica('one'), await startReplica('two')];
    await revoke(one.service, 'edge-1');
    await revoke(one.service, 'edge-2');
    const revokedAt = clock.now();
    await advance(60_000);
    await two.service.lift({ target: { node: 'edge-1' }, by: 'bob' });
    await two.service.lift({ target: { node: 'edge-2' }, rejoin: true, by: 'bob' });
    await settle(50);
    // L5: by whoever decided, once.
    expect(one.recorded.map(({ reason, message }) => [reason, message])).toEqual([
      ['Revoked', 'node edge-1 is shut out (keyCompromise), by admin'],
      ['Revoked', 'node edge-2 is shut out (keyCompromise), by admin'],
    ]);
    expect(two.recorded.map(({ reason, message }) => [reason, message])).toEqual([
      ['RevocationLifted', 'node edge-1 is let in again, by bob'],
      ['RevocationLifted', 'node edge-2 may join again, by bob'],
    ]);
    expect(one.service.isRevoked(peer('edge-1'))).toBeUndefined();
    expect(one.service.isNodeRevoked('edge-2')).toBeUndefined();
    // Half of the minute between, minus what certificates are backdated.
    const limit = revokedAt + 30_000 - 3_600_000;
    expect(one.service.isRevoked({ ...peer('edge-2'), notBefore: limit - 1 })).toBeDefined();
    expect(one.service.isRevoked({ ...peer('edge-2'), notBefore: limit })).toBeUndefined();
    await expect(one.service.lift({ target: { node: 'edge-1' }, by: 'bob' })).rejects.toMatchObject({
      code: 'REVOCATION_NOT_FOUND',
    });
  });

  test('a replica that stops takes its receipt back; one that dies is no longer waited for after some minutes', async () => {
    const [one, two] = [await startReplica('one'), await startReplica('two')];
    const three = await startReplica('three');
    await two.stop();
    await settle(20);
    expect(one.service.replicas().replicas.map(({ replica }) => replica)).toEqual(['one', 'three']);
    three.store.fault = down;
    three.store.watchDead = true;
    await revoke(one.service, 'edge-1');
    await settle(20);
    expect(one.service.replicas().complete).toBe(false);
    await advance(151_000);
    expect(one.service.replicas()).toMatchObject({ complete: true, replicas: [{}, { alive: false }] });
  });
});

describe('G7: a rolling upgrade from 0.1, whose replicas know no board', () => {
  test('each sees the other alive and with its version, and an elder that was alone for hours wakes up', async () => {
    const elder = new ElderReplica({ store: store.connect(), clock }, 'old');
    await elder.start();
    await advance(3 * 3_600_000);
    const one = await startReplica('new-1');
    const two = await startReplica('new-2');
    await advance(10_000);
    expect(await elder.alive()).toEqual({ old: 0, 'new-1': 0, 'new-2': 0 });
    const { revocation } = await revoke(one.service, 'edge-1');
    await settle(50);
    expect(await elder.alive()).toEqual({ old: 0, 'new-1': 1, 'new-2': 1 });
    expect(two.service.receipt(revocation!.id)?.complete).toBe(false);
    await elder.follow(1);
    await settle(50);
    expect(two.service.receipt(revocation!.id)).toMatchObject({
      complete: true,
      replicas: [{ replica: 'new-1' }, { replica: 'new-2' }, { replica: 'old', version: 1 }],
    });
    // Signs of life go on reaching it, and who stops is not waited for there either.
    for (let minutes = 0; minutes < 5; minutes++) await advance(60_000);
    expect(Object.keys(await elder.alive()).sort()).toEqual(['new-1', 'new-2', 'old']);
    await two.stop();
    await settle(20);
    expect(Object.keys(await elder.alive()).sort()).toEqual(['new-1', 'old']);
    elder.kill();
  });

  test('once the last elder is silent nothing more is written for it, and nobody waits for it', async () => {
    const elder = new ElderReplica({ store: store.connect(), clock }, 'old');
    await elder.start();
    const [one] = [await startReplica('new-1'), await startReplica('new-2')];
    await advance(10_000);
    elder.kill();
    for (let minutes = 0; minutes < 5; minutes++) await advance(60_000);
    const { revocation } = await revoke(one.service, 'edge-1');
    await settle(50);
    expect(one.service.receipt(revocation!.id)).toMatchObject({
      complete: true,
      replicas: [{ alive: true }, { alive: true }, { replica: 'old', alive: false }],
    });
    const writes = () => store.writes.filter(({ name }) => name === SECRET).length;
    const before = writes();
    for (let minutes = 0; minutes < 10; minutes++) await advance(60_000);
    expect(writes()).toBe(before);
  });
});

describe('G7: what can go wrong with the stored list', () => {
  test('a damaged list leaves the last good one in force, is not written over, and is told', async () => {
    const { service, metrics, log } = await startReplica('one');
    await revoke(service, 'edge-1');
    expect(await metric(metrics, 'revocation_list_usable')).toBe(1);
    expect(await metric(metrics, 'revocation_list_version')).toBe(1);
    expect(await metric(metrics, 'revocations', { kind: 'node' })).toBe(1);
    const good = store.peek(SECRET)!;
    damage({ [LIST_FIELD]: Buffer.from('{"format":1') });
    await settle(20);
    expect(service.isNodeRevoked('edge-1')).toBeDefined();
    expect(service.problem()).toContain('is not JSON');
    expect(await metric(metrics, 'revocation_list_usable')).toBe(0);
    await expect(revoke(service, 'edge-2')).rejects.toMatchObject({ code: 'SECRET_MALFORMED' });
    await advance(120_000);
    expect(Buffer.from(store.peek(SECRET)!.data[LIST_FIELD]!).toString()).toBe('{"format":1');
    expect(log.lines.filter(({ message }) => message.includes('the last good one stays'))).not.toEqual([]);
    damage({ [LIST_FIELD]: good.data[LIST_FIELD]! });
    await settle(20);
    expect(service.problem()).toBeUndefined();
    await revoke(service, 'edge-2');
    expect(service.list().items).toHaveLength(2);
  });

  test('a list that vanished, or came back older from a backup, is written again from memory', async () => {
    const { service } = await startReplica('one');
    await revoke(service, 'edge-1');
    const old = store.peek(SECRET)!;
    await revoke(service, 'edge-2');
    store.remove(SECRET);
    await settle(30);
    expect(Buffer.from(store.peek(SECRET)!.data[LIST_FIELD]!).toString()).toContain('edge-2');
    store.put(old);
    await settle(30);
    expect(Buffer.from(store.peek(SECRET)!.data[LIST_FIELD]!).toString()).toContain('edge-2');
    expect(service.isNodeRevoked('edge-2')).toBeDefined();
    const fresh = await startReplica('two');
    expect(fresh.service.isNodeRevoked('edge-2')).toBeDefined();
  });

  test('garbage for receipts disturbs nothing, on the board it is replaced', async () => {
    const { service } = await startReplica('one');
    await revoke(service, 'edge-1');
    damage({ 'receipts.json': Buffer.from('garbage'), other: Buffer.from('kept') });
    store.put({ name: BOARD, data: { [BOARD_FIELD]: Buffer.from('garbage'), other: Buffer.from('kept') } });
    await settle(20);
    expect(service.problem()).toBeUndefined();
    await revoke(service, 'edge-2');
    await settle(20);
    expect(Buffer.from(store.peek(BOARD)!.data[BOARD_FIELD]!).toString()).toContain('"replica":"one"');
    for (const name of [SECRET, BOARD])
      expect(Buffer.from(store.peek(name)!.data.other!).toString()).toBe('kept');
  });

  test('a hand that edits the list without a new version is obeyed', async () => {
    const { service, changes } = await startReplica('one');
    await revoke(service, 'edge-1');
    const text = Buffer.from(store.peek(SECRET)!.data[LIST_FIELD]!).toString();
    damage({ [LIST_FIELD]: Buffer.from(text.replace('edge-1', 'edge-9')) });
    await settle(20);
    expect([service.isNodeRevoked('edge-1'), service.isNodeRevoked('edge-9')]).toEqual([
      undefined,
      expect.objectContaining({ word: 'revoked' }),
    ]);
    expect(changes).toEqual([1, 1]);
  });

  test('at the start it waits for a store that cannot be used, and ends with a list that is damaged', async () => {
    const own = store.connect();
    own.fault = down;
    let started = false;
    const starting = startReplica('one', own).then((replica) => {
      started = true;
      return replica;
    });
    await settle(20);
    await advance(60_000);
    expect(started).toBe(false);
    own.fault = () => {};
    for (let turn = 0; turn < 20 && !started; turn++) await advance(5_000);
    const { service } = await starting;
    expect(service.list()).toEqual({ version: 0, items: [] });
    damage({ [LIST_FIELD]: Buffer.from('x') });
    await expect(startReplica('two')).rejects.toMatchObject({ code: 'SECRET_MALFORMED' });
  });

  test('while the store is away the list stays in force, and no decision is pretended', async () => {
    const { service, store: own } = await startReplica('one');
    await revoke(service, 'edge-1');
    own.fault = down;
    await expect(revoke(service, 'edge-2')).rejects.toMatchObject({ code: 'SECRET_STORE_UNAVAILABLE' });
    await expect(service.lift({ target: { node: 'edge-1' }, by: 'x' })).rejects.toThrow();
    await advance(30_000);
    expect([service.isNodeRevoked('edge-1'), service.isNodeRevoked('edge-2')]).toEqual([
      expect.objectContaining({ word: 'revoked' }),
      undefined,
    ]);
    expect(service.problem()).toBeDefined();
    own.fault = () => {};
    await advance(5_000);
    expect(service.problem()).toBeUndefined();
  });

  test('nothing is left running after the stop, and nothing is written while nothing changes', async () => {
    const { stop } = await startReplica('one');
    const before = store.writes.length;
    await advance(3 * 3_600_000);
    expect(store.writes.length).toBe(before);
    // Another comes: now each says that it lives.
    const other = await startReplica('two');
    await advance(60_000);
    expect(other.service.replicas().replicas).toMatchObject([{ alive: true }, { alive: true }]);
    await other.stop();
    await stop();
    expect(clock.pending).toBe(0);
    expect(store.watchers).toBe(0);
  });
});
