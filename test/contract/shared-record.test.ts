import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { SharedRecord } from '../../src/core/shared-record.ts';
import { MemorySecretStore } from '../fakes/memory-secret-store.ts';
import { counterCodec, describeSharedRecordContract } from './shared-record.contract.ts';

describeSharedRecordContract('memory', async () => {
  const store = new MemorySecretStore();
  return {
    store,
    peer: async () => store.connect(),
    remove: async (name) => store.remove(name),
    breakDown: async () => {},
    repair: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
});

test('a change that begins with what is known reads only after a lost race', async () => {
  const store = new MemorySecretStore();
  const record = new SharedRecord({ store, clock: systemClock }, { name: 'counter', codec: counterCodec });
  const known = (await record.change(() => 1)).record!;
  store.calls.length = 0;
  await record.change((value) => value + 1, { known: () => known });
  expect(store.calls.map(({ call }) => call)).toEqual(['replace']);
  await record.change((value) => value + 1, { known: () => known });
  expect(store.calls.map(({ call }) => call)).toEqual(['replace', 'replace', 'get', 'replace']);
  expect(await record.read()).toBe(3);
});
