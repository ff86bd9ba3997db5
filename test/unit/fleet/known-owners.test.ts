import { expect, test } from 'vitest';
import { SallyportError } from '../../../src/core/errors.ts';
import { KnownOwners } from '../../../src/fleet/known-owners.ts';
import { otherOwner } from '../../fakes/slow-ownership.ts';

test('an owner is asked for once until its node changes; that nobody has a node is asked each time', async () => {
  const asked: string[] = [];
  const known = new KnownOwners({
    ask: async (node) => {
      asked.push(node);
      return node === 'nobody' ? undefined : otherOwner;
    },
  });
  expect(await Promise.all([known.of('a'), known.of('a')])).toEqual([otherOwner, otherOwner]);
  await known.of('a');
  known.changed('b');
  await known.of('a');
  expect(asked).toEqual(['a']);
  known.changed('a');
  await known.of('a');
  known.clear();
  await known.of('a');
  expect(asked).toEqual(['a', 'a', 'a']);
  await known.of('nobody');
  await known.of('nobody');
  expect(asked.slice(3)).toEqual(['nobody', 'nobody']);
});

test('an answer that was overtaken by a change is not kept, and neither is a failure', async () => {
  const questions: PromiseWithResolvers<typeof otherOwner>[] = [];
  const known = new KnownOwners({
    ask: () => {
      const question = Promise.withResolvers<typeof otherOwner>();
      questions.push(question);
      return question.promise;
    },
  });
  const first = known.of('a');
  known.changed('a');
  const second = known.of('a');
  questions[1]!.resolve({ ...otherOwner, epoch: 8 });
  questions[0]!.resolve(otherOwner);
  expect([(await first)?.epoch, (await second)?.epoch]).toEqual([7, 8]);
  expect((await known.of('a'))?.epoch).toBe(8);
  known.changed('a');
  const failing = known.of('a');
  questions[2]!.reject(new SallyportError('BUS_UNAVAILABLE', { problem: 'test' }));
  await expect(failing).rejects.toMatchObject({ code: 'BUS_UNAVAILABLE' });
  void known.of('a');
  expect(questions).toHaveLength(4);
});

test('remembers so many nodes and no more', async () => {
  let asked = 0;
  const known = new KnownOwners({
    ask: async () => {
      asked++;
      return otherOwner;
    },
  });
  for (let node = 0; node < 2_000; node++) await known.of(`n${node}`);
  await known.of('n1999');
  expect(asked).toBe(2_000);
  await known.of('n0');
  expect(asked).toBe(2_001);
});
