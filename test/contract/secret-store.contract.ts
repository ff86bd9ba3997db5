import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Secret, SecretSnapshot, SecretStore } from '../../src/contracts/secret-store.ts';
import { eventuallyHolds } from '../support/eventually.ts';

/** How often a store under test reads everything again, milliseconds. */
export const CONTRACT_RESYNC_MS = 300;

/** One empty place for Secrets, and what may happen to it from outside. */
export interface SecretStoreHarness extends AsyncDisposable {
  readonly store: SecretStore;
  /** A second store at the same place, as another replica has it. */
  peer(): Promise<SecretStore>;
  /** Removes a Secret behind the back of the stores. */
  remove(name: string): Promise<void>;
  /** From now on nothing can be read or written, until `repair`. */
  breakDown(): Promise<void>;
  repair(): Promise<void>;
}

const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const tls = (value: string) => ({
  'tls.crt': bytes(`certificate ${value}`),
  'tls.key': bytes(`key ${value}`),
});
const text = (secret: Secret | undefined, key: string) => Buffer.from(secret?.data[key] ?? []).toString();

/** What every `SecretStore` does, whatever keeps its Secrets. */
export function describeSecretStoreContract(
  kind: string,
  makeHarness: () => Promise<SecretStoreHarness>,
): void {
  describe(`${kind} keeps the contract of a secret store`, () => {
    let harness: SecretStoreHarness;
    let store: SecretStore;
    beforeEach(async () => {
      harness = await makeHarness();
      store = harness.store;
    });
    afterEach(() => harness[Symbol.asyncDispose]());

    const follow = (names: readonly string[], from = store) => {
      const snapshots: SecretSnapshot[] = [];
      const errors: unknown[] = [];
      const stop = from.watch(
        names,
        (snapshot) => snapshots.push(snapshot),
        (error) => errors.push(error),
      );
      return { snapshots, errors, stop };
    };

    test('says where it is', () => {
      expect(store.location.length).toBeGreaterThan(0);
    });

    test('a secret that does not exist is undefined, not an error', async () => {
      expect(await store.get('casecret')).toBeUndefined();
    });

    test('keeps every byte of every value, empty values and odd keys included', async () => {
      const all = Uint8Array.from({ length: 256 }, (_, index) => index);
      const data = {
        all,
        empty: new Uint8Array(),
        'tls.crt': bytes('ü'),
        on: bytes('x'),
        '0x1F': bytes('y'),
      };
      const created = await store.create({ name: 'values', data });
      const read = await store.get('values');
      expect(read).toEqual(created);
      expect(read!.data).toEqual(data);
    });

    test('the type is Opaque unless said otherwise', async () => {
      await store.create({ name: 'plain', data: {} });
      await store.create({
        name: 'web',
        type: 'kubernetes.io/tls',
        data: { 'tls.crt': bytes('c'), 'tls.key': bytes('k') },
      });
      expect((await store.get('plain'))!.type).toBe('Opaque');
      expect((await store.get('web'))!.type).toBe('kubernetes.io/tls');
    });

    test('creates only what does not exist, and leaves what does as it is', async () => {
      const first = await store.create({ name: 'casecret', data: { cadata: bytes('first') } });
      await expect(
        store.create({ name: 'casecret', data: { cadata: bytes('second') } }),
      ).rejects.toMatchObject({ code: 'SECRET_ALREADY_EXISTS', details: { secret: 'casecret' } });
      expect(await store.get('casecret')).toEqual(first);
    });

    test('A1: of 8 replicas that create the same secret at once exactly one succeeds, and all read its value', async () => {
      const peers = await Promise.all(Array.from({ length: 8 }, () => harness.peer()));
      const results = await Promise.allSettled(
        peers.map((peer, index) => peer.create({ name: 'casecret', data: { cadata: bytes(`ca ${index}`) } })),
      );
      const won = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
      expect(won).toHaveLength(1);
      for (const result of results)
        if (result.status === 'rejected')
          expect(result.reason).toMatchObject({ code: 'SECRET_ALREADY_EXISTS' });
      for (const peer of peers) expect(await peer.get('casecret')).toEqual(won[0]);
    });

    test('replaces the whole data, and gives the version for the next time', async () => {
      const first = await store.create({ name: 'token', data: { a: bytes('1'), b: bytes('1') } });
      const second = await store.replace({ ...first, version: first.version!, data: { a: bytes('2') } });
      expect(second.version).not.toBe(first.version);
      const third = await store.replace({ ...second, version: second.version!, data: { a: bytes('3') } });
      expect((await store.get('token'))!.data).toEqual({ a: bytes('3') });
      expect(await store.get('token')).toEqual(third);
    });

    test('a replacement that says no type keeps the one there is, and none can change it', async () => {
      const { name, version } = await store.create({
        name: 'web',
        type: 'kubernetes.io/tls',
        data: tls('1'),
      });
      const next = await store.replace({ name, version: version!, data: tls('2') });
      expect(next.type).toBe('kubernetes.io/tls');
      await expect(
        store.replace({ name, version: next.version!, type: 'Opaque', data: tls('3') }),
      ).rejects.toMatchObject({ code: 'SECRET_MALFORMED' });
      expect(await store.get('web')).toEqual(next);
    });

    test('E3: replaces only the version that was read', async () => {
      const first = await store.create({ name: 'token', data: { a: bytes('1') } });
      const peer = await harness.peer();
      const theirs = await peer.replace({ ...first, version: first.version!, data: { a: bytes('theirs') } });
      await expect(
        store.replace({ ...first, version: first.version!, data: { a: bytes('ours') } }),
      ).rejects.toMatchObject({ code: 'SECRET_CONFLICT', details: { secret: 'token' } });
      expect(await store.get('token')).toEqual(theirs);
    });

    test('E3: of 8 replicas that replace the same version at once exactly one succeeds', async () => {
      const first = await store.create({ name: 'token', data: { a: bytes('1') } });
      const peers = await Promise.all(Array.from({ length: 8 }, () => harness.peer()));
      const results = await Promise.allSettled(
        peers.map((peer, index) =>
          peer.replace({ ...first, version: first.version!, data: { a: bytes(`new ${index}`) } }),
        ),
      );
      const codes = results.map((result) => (result.status === 'fulfilled' ? 'won' : result.reason.code));
      expect(codes.sort()).toEqual([...Array<string>(7).fill('SECRET_CONFLICT'), 'won']);
      const winner = results.find((result) => result.status === 'fulfilled')!;
      expect(await store.get('token')).toEqual(winner.value);
    });

    test('does not bring back a secret that was removed meanwhile', async () => {
      const first = await store.create({ name: 'token', data: { a: bytes('1') } });
      await harness.remove('token');
      await expect(store.replace({ ...first, version: first.version! })).rejects.toMatchObject({
        code: 'SECRET_NOT_FOUND',
      });
      expect(await store.get('token')).toBeUndefined();
    });

    test('refuses names that are none, before anything is touched', async () => {
      for (const name of [
        '',
        '.',
        '..',
        '../casecret',
        'a/b',
        'A',
        'a_b',
        'a.',
        '-a',
        'a\n',
        'a\0',
        'x'.repeat(254),
      ]) {
        const malformed = { code: 'SECRET_MALFORMED' };
        await expect(store.get(name)).rejects.toMatchObject(malformed);
        await expect(store.create({ name, data: {} })).rejects.toMatchObject(malformed);
        await expect(store.replace({ name, data: {}, version: '1' })).rejects.toMatchObject(malformed);
        expect(() => follow([name])).toThrow(expect.objectContaining(malformed));
      }
    });

    test('refuses keys and sizes that Kubernetes does not take', async () => {
      const malformed = { code: 'SECRET_MALFORMED' };
      for (const key of ['', '..', '..a', 'a b', 'a/b', 'ä'])
        await expect(store.create({ name: 'bad', data: { [key]: bytes('v') } })).rejects.toMatchObject(
          malformed,
        );
      const huge = { a: new Uint8Array(1024 * 1024 + 1) };
      await expect(store.create({ name: 'bad', data: huge })).rejects.toMatchObject(malformed);
      expect(await store.get('bad')).toBeUndefined();
    });

    test('an aborted call rejects with the reason', async () => {
      const reason = new Error('changed my mind');
      const signal = AbortSignal.abort(reason);
      await expect(store.get('casecret', signal)).rejects.toBe(reason);
      await expect(store.create({ name: 'casecret', data: {} }, signal)).rejects.toBe(reason);
      expect(await store.get('casecret')).toBeUndefined();
    });

    test('A2: a store that is away is an error, never "does not exist", and nothing is created', async () => {
      await harness.breakDown();
      const away = { code: 'SECRET_STORE_UNAVAILABLE' };
      await expect(store.get('casecret')).rejects.toMatchObject(away);
      await expect(store.create({ name: 'casecret', data: {} })).rejects.toMatchObject(away);
      await expect(store.replace({ name: 'casecret', data: {}, version: '1' })).rejects.toMatchObject(away);
      await harness.repair();
      expect(await store.get('casecret')).toBeUndefined();
    });

    test('a watch begins with all its secrets, also those that do not exist', async () => {
      const ca = await store.create({ name: 'casecret', data: { a: bytes('1') } });
      const { snapshots } = follow(['casecret', 'other']);
      await eventuallyHolds(() => expect(snapshots.length).toBeGreaterThan(0));
      expect([...snapshots[0]!]).toEqual([
        ['casecret', ca],
        ['other', undefined],
      ]);
    });

    test('B5: a watch tells what was created, replaced and removed, by whomever', async () => {
      const { snapshots, errors } = follow(['one', 'two']);
      const peer = await harness.peer();
      const last = () => snapshots.at(-1);
      const one = await store.create({ name: 'one', data: { a: bytes('1') } });
      await eventuallyHolds(() => expect(last()?.get('one')).toEqual(one));
      const two = await peer.create({ name: 'two', data: { a: bytes('2') } });
      await eventuallyHolds(() => expect(last()?.get('two')).toEqual(two));
      const next = await peer.replace({ ...one, version: one.version!, data: { a: bytes('new') } });
      await eventuallyHolds(() => expect(last()?.get('one')).toEqual(next));
      expect(last()!.get('two')).toEqual(two);
      await harness.remove('two');
      await eventuallyHolds(() => expect(last()?.get('two')).toBeUndefined());
      expect([...last()!.keys()]).toEqual(['one', 'two']);
      expect(errors).toEqual([]);
    });

    test('a snapshot that was handed over does not change any more', async () => {
      const { snapshots } = follow(['one']);
      await eventuallyHolds(() => expect(snapshots.length).toBeGreaterThan(0));
      await store.create({ name: 'one', data: {} });
      await eventuallyHolds(() => expect(snapshots.at(-1)!.get('one')).toBeDefined());
      expect(snapshots[0]!.get('one')).toBeUndefined();
    });

    test('a burst of changes ends with the newest value', async () => {
      const { snapshots } = follow(['one']);
      let secret = await store.create({ name: 'one', data: { n: bytes('0') } });
      for (let n = 1; n <= 20; n++)
        secret = await store.replace({ ...secret, version: secret.version!, data: { n: bytes(String(n)) } });
      await eventuallyHolds(() => expect(text(snapshots.at(-1)?.get('one'), 'n')).toBe('20'));
      const order = snapshots.map((snapshot) => Number(text(snapshot.get('one'), 'n') || -1));
      expect(order).toEqual(order.toSorted((a, b) => a - b));
    });

    test('B6: everything is read again every period, also without a change', async () => {
      const { snapshots } = follow(['one']);
      await eventuallyHolds(() => expect(snapshots.length).toBeGreaterThanOrEqual(3));
    });

    test('A5: while the store is away a watch reports it and keeps what it knew; afterwards it catches up', async () => {
      const one = await store.create({ name: 'one', data: { a: bytes('1') } });
      const { snapshots, errors } = follow(['one']);
      await eventuallyHolds(() => expect(snapshots.length).toBeGreaterThan(0));
      await harness.breakDown();
      await eventuallyHolds(() => expect(errors.length).toBeGreaterThan(0));
      expect(errors[0]).toMatchObject({ code: 'SECRET_STORE_UNAVAILABLE' });
      for (const snapshot of snapshots) expect(snapshot.get('one')).toEqual(one);
      await harness.repair();
      const next = await store.replace({ ...one, version: one.version!, data: { a: bytes('2') } });
      await eventuallyHolds(() => expect(snapshots.at(-1)!.get('one')).toEqual(next));
    });

    test('A2: a watch that began while the store was away gives no snapshot until it knows', async () => {
      await harness.breakDown();
      const { snapshots, errors } = follow(['one']);
      await eventuallyHolds(() => expect(errors.length).toBeGreaterThan(0));
      expect(snapshots).toEqual([]);
      await harness.repair();
      await eventuallyHolds(() => expect(snapshots.at(-1)?.has('one')).toBe(true));
    });

    test('a watch that was ended stays silent, and the others go on', async () => {
      const ended = follow(['one']);
      const other = follow(['one']);
      await eventuallyHolds(() => expect(ended.snapshots.length).toBeGreaterThan(0));
      ended.stop();
      ended.stop();
      const before = ended.snapshots.length;
      const one = await store.create({ name: 'one', data: {} });
      await eventuallyHolds(() => expect(other.snapshots.at(-1)!.get('one')).toEqual(one));
      expect(ended.snapshots).toHaveLength(before);
    });

    test('a follower that throws disturbs nobody', async () => {
      store.watch(
        ['one'],
        () => {
          throw new Error('a fault of the follower');
        },
        () => {},
      );
      const { snapshots } = follow(['one']);
      const one = await store.create({ name: 'one', data: {} });
      await eventuallyHolds(() => expect(snapshots.at(-1)?.get('one')).toEqual(one));
    });

    test('a closed store ends its watches and refuses every call', async () => {
      const { snapshots, errors } = follow(['one']);
      await eventuallyHolds(() => expect(snapshots.length).toBeGreaterThan(0));
      await store.close();
      await store.close();
      const before = snapshots.length;
      const peer = await harness.peer();
      const { snapshots: theirs } = follow(['one'], peer);
      await peer.create({ name: 'one', data: {} });
      await eventuallyHolds(() => expect(theirs.at(-1)?.get('one')).toBeDefined());
      expect(snapshots).toHaveLength(before);
      expect(errors).toEqual([]);
      await expect(store.get('one')).rejects.toMatchObject({ code: 'SECRET_STORE_UNAVAILABLE' });
      expect(() => follow(['one'])).toThrow();
    });
  });
}
