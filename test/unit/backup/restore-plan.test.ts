import { beforeAll, describe, expect, test } from 'vitest';
import type { Backup } from '../../../src/backup/backup-content.ts';
import { readLiving, runRestore } from '../../../src/backup/restore-backup.ts';
import { planRestore } from '../../../src/backup/restore-plan.ts';
import { decodeTokenState } from '../../../src/certs/enrolment/token-state-codec.ts';
import { decodeRevocations } from '../../../src/certs/revocation/revocation-codec.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { MemorySecretStore } from '../../fakes/memory-secret-store.ts';
import {
  backupOf,
  caSecret,
  listOf,
  NAMES,
  revocation,
  revocationSecret,
  tokenSecret,
  trustSecret,
} from '../../support/pki/backups.ts';
import { mintCa, type Pair } from '../../support/pki/pki.ts';

const CREATED = '2026-11-20T00:00:00.000Z';
const NOW = Date.UTC(2026, 10, 24);
let ca: Pair;
let other: Pair;
let backup: Backup;
beforeAll(async () => {
  [ca, other] = await Promise.all([mintCa(), mintCa()]);
  backup = backupOf(
    [
      { role: 'ca', secret: caSecret(ca) },
      { role: 'trust', secret: trustSecret(other) },
      { role: 'revocations', secret: revocationSecret(listOf(revocation('edge-1'))) },
      { role: 'tokens', secret: tokenSecret({ usedTokens: new Map([['used', NOW + 1000]]) }) },
    ],
    { createdAt: CREATED },
  );
});

async function plan(store: MemorySecretStore, options: { force?: boolean; revokeTokens?: boolean } = {}) {
  const living = await readLiving(store, backup, NAMES);
  const wish = { names: NAMES, force: false, revokeTokens: false, ...options };
  return planRestore({ clock: new ManualClock(NOW) }, { backup, living }, wish);
}
const listIn = (store: MemorySecretStore) => decodeRevocations(store.peek('sallyport-revocations')!);
const tokensIn = (store: MemorySecretStore) => decodeTokenState(store.peek('sallyport-tokens')!);

describe('into an empty store', () => {
  test('everything is created: who is shut out first, the CA last; a second run writes nothing', async () => {
    const store = new MemorySecretStore();
    const written = await runRestore(store, await plan(store));
    expect(written).toEqual(['sallyport-revocations', 'sallyport-tokens', 'sallyport-trust', 'casecret']);
    expect(store.writes.every(({ call }) => call === 'create')).toBe(true);
    expect(store.peek('casecret')!.data).toEqual(backup.secrets[0]!.secret.data);
    const again = await plan(store);
    expect(again.steps.map(({ action }) => action)).toEqual(Array(4).fill('unchanged'));
    expect(await runRestore(store, again)).toEqual([]);
  });

  test('G7: the version of the revocations never goes back, whatever was decided after the backup', async () => {
    const store = new MemorySecretStore();
    await runRestore(store, await plan(store));
    expect(listIn(store).findNode('edge-1')).toBeDefined();
    expect(listIn(store).version).toBeGreaterThanOrEqual((NOW - Date.parse(CREATED)) / 1000);
  });

  test('what comes back to life is said: revocations and tokens since the backup', async () => {
    const { breaks, refused } = await plan(new MemorySecretStore());
    expect(refused).toEqual([]);
    expect(breaks.join('\n')).toContain(`revoked or quarantined after ${CREATED} is let in again`);
    expect(breaks.join('\n')).toContain(`used or revoked after ${CREATED}`);
  });

  test('E8: --revoke-tokens refuses every token of before', async () => {
    const store = new MemorySecretStore();
    await runRestore(store, await plan(store, { revokeTokens: true }));
    expect(tokensIn(store)).toMatchObject({ epoch: 1, revokedAt: NOW });
    expect(tokensIn(store).key).toEqual(new Uint8Array(32).fill(7));
  });

  test('the names that the configuration has today are written', async () => {
    const store = new MemorySecretStore();
    const names = NAMES.map((one) => (one.role === 'ca' ? { ...one, name: 'fleet-ca' } : one));
    const living = await readLiving(store, backup, names);
    const renamed = planRestore(
      { clock: new ManualClock(NOW) },
      { backup, living },
      { names, force: false, revokeTokens: false },
    );
    await runRestore(store, renamed);
    expect(store.peek('fleet-ca')!.data.cadata).toEqual(new Uint8Array(ca.der));
    expect(store.peek('casecret')).toBeUndefined();
  });
});

describe('onto what lives', () => {
  test('A1: another CA is never overwritten without force, and then nothing at all is written', async () => {
    const store = new MemorySecretStore();
    store.put(caSecret(other));
    const refused = await plan(store);
    expect(refused.refused).toEqual([expect.stringContaining(other.sha256)]);
    expect(refused.lostCa).toBe(other.sha256);
    expect(refused.breaks.join('\n')).toContain('they join again');
    await expect(runRestore(store, refused)).rejects.toMatchObject({ code: 'RESTORE_REFUSED' });
    expect(store.writes).toEqual([]);
    expect(store.peek('casecret')!.data.cadata).toEqual(other.der);
    await runRestore(store, await plan(store, { force: true }));
    expect(store.peek('casecret')!.data.cadata).toEqual(new Uint8Array(ca.der));
  });

  test('a CA that cannot be used is not overwritten without force either', async () => {
    const store = new MemorySecretStore();
    store.put({ name: 'casecret', data: { cadata: ca.der } });
    expect((await plan(store)).refused).toEqual([expect.stringContaining('cannot be used')]);
    await runRestore(store, await plan(store, { force: true }));
    expect(store.peek('casecret')!.data.cakeydata).toBeDefined();
  });

  test('the same CA in another form is the same', async () => {
    const store = new MemorySecretStore();
    store.put({ name: 'casecret', data: { cadata: Buffer.from(ca.pem), cakeydata: Buffer.from(ca.key) } });
    const step = (await plan(store)).steps.find(({ role }) => role === 'ca');
    expect(step).toMatchObject({ action: 'unchanged' });
  });

  test('revocations are united: nobody who is out comes in, whichever list says so', async () => {
    const store = new MemorySecretStore();
    store.put(revocationSecret(listOf(revocation('edge-2'))));
    await runRestore(store, await plan(store));
    for (const node of ['edge-1', 'edge-2']) expect(listIn(store).findNode(node)).toBeDefined();
  });

  test('a list that cannot be read is replaced, ahead of whatever it was', async () => {
    const store = new MemorySecretStore();
    store.put({ name: 'sallyport-revocations', data: { 'revocations.json': Buffer.from('{') } });
    await runRestore(store, await plan(store));
    expect(listIn(store).version).toBeGreaterThan(1000);
  });

  test('E5: a token that was used after the backup stays used where the store still knows it', async () => {
    const store = new MemorySecretStore();
    store.put(tokenSecret({ epoch: 3, usedTokens: new Map([['later', NOW + 5000]]) }));
    await runRestore(store, await plan(store));
    expect([...tokensIn(store).usedTokens.keys()].sort()).toEqual(['later', 'used']);
    expect(tokensIn(store).epoch).toBe(3);
  });

  test('another token key stays unless forced, and used tokens are never forgotten', async () => {
    const store = new MemorySecretStore();
    store.put(
      tokenSecret({ key: new Uint8Array(32).fill(9), epoch: 2, usedTokens: new Map([['later', NOW]]) }),
    );
    const kept = (await plan(store)).steps.find(({ role }) => role === 'tokens');
    expect(kept).toMatchObject({ action: 'keep' });
    expect(kept?.write).toBeUndefined();
    const forced = await plan(store, { force: true });
    expect(forced.breaks.join('\n')).toContain('tokens made with the key that is there stop working');
    await runRestore(store, forced);
    expect(tokensIn(store).key).toEqual(new Uint8Array(32).fill(7));
    expect(tokensIn(store).epoch).toBe(2);
    expect([...tokensIn(store).usedTokens.keys()].sort()).toEqual(['later', 'used']);
  });

  test('a CA that was taken out of the trust since is not trusted again without force', async () => {
    const store = new MemorySecretStore();
    store.put(trustSecret());
    const kept = await plan(store);
    expect(kept.steps.find(({ role }) => role === 'trust')).toMatchObject({ action: 'keep' });
    await runRestore(store, kept);
    expect(store.peek('sallyport-trust')!.data).toEqual({});
    expect((await plan(store, { force: true })).breaks.join('\n')).toContain('accepted again');
  });

  test('A3: whoever writes between the look and the restore is not overwritten', async () => {
    const store = new MemorySecretStore();
    store.put(revocationSecret(listOf(revocation('edge-2'))));
    const made = await plan(store);
    store.put(revocationSecret(listOf(revocation('edge-2'), revocation('edge-3'))));
    await expect(runRestore(store, made)).rejects.toMatchObject({
      code: 'RESTORE_REFUSED',
      message: expect.stringContaining('is a gateway running?'),
    });
    expect(listIn(store).findNode('edge-3')).toBeDefined();
    expect(store.peek('casecret')).toBeUndefined();
    await runRestore(store, await plan(store));
    expect(store.peek('casecret')).toBeDefined();
  });
});
