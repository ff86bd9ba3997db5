import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { SecretStore } from '../../src/contracts/secret-store.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { SallyportError } from '../../src/core/errors.ts';
import { type RecordCodec, type RecordStore, SharedRecord } from '../../src/core/shared-record.ts';
import { ManualClock } from '../fakes/manual-clock.ts';
import { whileAdvancing } from '../support/while-advancing.ts';
import type { SecretStoreHarness } from './secret-store.contract.ts';

const NAME = 'counter';
/** A number that must never be lost: one that cannot be read is no zero. */
export const counterCodec: RecordCodec<number> = {
  decode: (record) => {
    const value = Number(Buffer.from(record?.data.value ?? '0').toString());
    if (!Number.isSafeInteger(value))
      throw new SallyportError('SECRET_MALFORMED', { secret: NAME, problem: 'no number' });
    return { value };
  },
  encode: (value, previous) => ({ ...previous, value: Buffer.from(`${value}`) }),
};
const counter = (store: RecordStore, clock: Clock = systemClock) =>
  new SharedRecord({ store, clock }, { name: NAME, codec: counterCodec });

/** A store of a process that dies at its `nth` write (from 1): before it reaches the store, or after. */
function dyingAt(store: SecretStore, nth: number, moment: 'before' | 'after'): RecordStore {
  let writes = 0;
  let isDead = false;
  const write = async <T>(task: () => Promise<T>): Promise<T> => {
    isDead ||= ++writes === nth && moment === 'before';
    if (isDead) throw new Error('killed');
    const written = await task();
    isDead = writes === nth;
    if (isDead) throw new Error('killed');
    return written;
  };
  return {
    get: (name, signal) => store.get(name, signal),
    create: (record, signal) => write(() => store.create(record, signal)),
    replace: (record, signal) => write(() => store.replace(record, signal)),
  };
}

/** What `SharedRecord` does with every store. */
export function describeSharedRecordContract(
  kind: string,
  makeHarness: () => Promise<SecretStoreHarness>,
): void {
  describe(`a shared record in ${kind}`, () => {
    let harness: SecretStoreHarness;
    beforeEach(async () => {
      harness = await makeHarness();
    });
    afterEach(() => harness[Symbol.asyncDispose]());
    const read = async () => counter(await harness.peer()).read();

    test('is created with the first change, and keeps fields and type of others', async () => {
      const record = counter(harness.store);
      expect(await record.read()).toBe(0);
      expect((await record.change((value) => value + 1)).wrote).toEqual({ replaced: undefined });
      const stored = (await harness.store.get(NAME))!;
      await harness.store.replace({
        ...stored,
        version: stored.version!,
        data: { ...stored.data, theirs: Buffer.from('x') },
      });
      const { wrote, record: written } = await record.change((value) => value + 1);
      expect(wrote?.replaced?.data.theirs).toBeDefined();
      expect(written?.version).toBe((await harness.store.get(NAME))!.version);
      expect(Object.keys((await harness.store.get(NAME))!.data).sort()).toEqual(['theirs', 'value']);
    });

    test('is not written when nothing changes, and not when it cannot be read', async () => {
      await counter(harness.store).change((value) => value + 1);
      const stored = (await harness.store.get(NAME))!;
      expect((await counter(harness.store).change((value) => value)).wrote).toBeUndefined();
      expect((await harness.store.get(NAME))!.version).toBe(stored.version);
      const damaged = await harness.store.replace({
        ...stored,
        version: stored.version!,
        data: { value: Buffer.from('?') },
      });
      await expect(counter(harness.store).change(() => 7)).rejects.toMatchObject({
        code: 'SECRET_MALFORMED',
      });
      expect((await harness.store.get(NAME))!.version).toBe(damaged.version);
    });

    test('E3: of 8 replicas that count at once, each with two records, every increment counts exactly once', async () => {
      const peers = await Promise.all(Array.from({ length: 8 }, () => harness.peer()));
      const records = peers.map((peer) => counter(peer));
      await Promise.all([...records, ...records].map((record) => record.change((value) => value + 1)));
      expect(await read()).toBe(16);
    });

    for (const moment of ['before', 'after'] as const)
      for (const nth of [1, 2, 3])
        test(`E3: a process that dies ${moment} its write ${nth} leaves a whole record that others change`, async () => {
          const dying = counter(dyingAt(await harness.peer(), nth, moment));
          let confirmed = 0;
          await expect(
            (async () => {
              for (;;) {
                await dying.change((value) => value + 1);
                confirmed++;
              }
            })(),
          ).rejects.toThrow('killed');
          expect(confirmed).toBe(nth - 1);
          const left = await read();
          expect(left).toBe(moment === 'after' ? nth : nth - 1);
          expect((await counter(harness.store).change((value) => value + 1)).value).toBe(left + 1);
        });

    test('a record that vanishes in the middle of a change is created again', async () => {
      await counter(harness.store).change(() => 5);
      let calls = 0;
      const { value } = await counter(harness.store).change(async (stored) => {
        if (calls++ === 0) await harness.remove(NAME);
        return stored + 1;
      });
      expect([calls, value, await read()]).toEqual([2, 1, 1]);
    });

    test('starved, it gives up after the bound, says which Secret, and paused longer and longer between', async () => {
      const clock = new ManualClock();
      const peer = await harness.peer();
      await counter(peer).change((value) => value + 1);
      const at: number[] = [];
      const starved = new SharedRecord(
        { store: harness.store, clock },
        { name: NAME, codec: counterCodec, attempts: 6, random: () => 0.5 },
      ).change(async (value) => {
        at.push(clock.now());
        await counter(peer).change((theirs) => theirs + 1);
        return value + 100;
      });
      await expect(whileAdvancing(clock, starved, 1)).rejects.toMatchObject({
        code: 'SECRET_BUSY',
        details: { secret: NAME, attempts: 6 },
        message: 'secret counter could not be changed: somebody else was faster 6 times in a row',
      });
      // 10, 20, 40 and 80 ms, of which `random` takes three quarters; the first loser tries again at once.
      const least = [0, 8, 15, 30, 60];
      const pauses = at.slice(1).map((time, index) => time - at[index]!);
      expect(pauses).toHaveLength(5);
      for (const [index, pause] of pauses.entries()) expect(pause).toBeGreaterThanOrEqual(least[index]!);
      expect([await read(), clock.pending]).toEqual([7, 0]);
    });

    test('a pause ends with its signal, and nothing is written after it', async () => {
      const [clock, peer, stopping] = [new ManualClock(), await harness.peer(), new AbortController()];
      let calls = 0;
      const ended = counter(harness.store, clock).change(
        async () => {
          if (++calls === 2) setImmediate(() => stopping.abort(new Error('stopping')));
          await counter(peer).change((theirs) => theirs + 1);
          return 100;
        },
        { signal: stopping.signal },
      );
      await expect(ended).rejects.toThrow('stopping');
      expect([calls, await read()]).toEqual([2, 2]);
    });
  });
}
