import { afterEach, beforeEach, expect, test } from 'vitest';
import { SallyportError } from '../../../src/core/errors.ts';
import { Namesakes } from '../../../src/fleet/namesakes.ts';
import { SecretReplicaBoard } from '../../../src/fleet/secret-replica-board.ts';
import { ManualClock, settle } from '../../fakes/manual-clock.ts';
import { MemorySecretStore } from '../../fakes/memory-secret-store.ts';
import { capturedLog } from '../../support/captured-log.ts';
import { whileAdvancing } from '../../support/while-advancing.ts';

const SECRET = 'sallyport-replicas';
let clock: ManualClock;
let store: MemorySecretStore;
const running: SecretReplicaBoard[] = [];
beforeEach(() => {
  clock = new ManualClock();
  store = new MemorySecretStore();
});
afterEach(async () => {
  const stopped = Promise.all(running.splice(0).map((board) => board.stop()));
  await whileAdvancing(clock, stopped, 10);
  expect([clock.pending, store.watchers]).toEqual([0, 0]);
});

async function start(replica: string, on = store.connect()) {
  const log = capturedLog();
  const namesakes = new Namesakes({ log }, { replica });
  const board = new SecretReplicaBoard({ store: on, clock, log, namesakes }, () => ({
    secret: SECRET,
    replica,
  }));
  running.push(board);
  await board.start();
  await settle(20);
  return { board, store: on, log, namesakes };
}
const advance = async (ms: number) => {
  await clock.advance(ms);
  await settle(30);
};
const seenBy = ({ board }: { board: SecretReplicaBoard }) =>
  board
    .replicas()
    .map(({ replica, rollover, alive }) => `${replica} ${rollover} ${alive ? 'lives' : 'is silent'}`);

test('what one tells the others know at once, and all of it at the start is one write', async () => {
  const one = await start('one');
  one.board.note({ rollover: 1 });
  const two = await start('two');
  two.board.tell({ rollover: 2 });
  await settle(20);
  expect(seenBy(one)).toEqual(['one 1 lives', 'two 2 lives']);
  // What is only noted comes with the next sign of life.
  expect(seenBy(two)).toEqual(['one 0 lives', 'two 2 lives']);
  await advance(60_000);
  expect(seenBy(two)).toEqual(['one 1 lives', 'two 2 lives']);
});

test('facts that come together are told together', async () => {
  const { board } = await start('one');
  const before = store.writes.length;
  for (let rollover = 1; rollover <= 20; rollover++) board.tell({ rollover });
  await settle(30);
  expect(store.writes.length - before).toBeLessThanOrEqual(2);
});

test('alone it writes nothing for hours; whoever comes then sees it alive at once', async () => {
  const one = await start('one');
  const before = store.writes.length;
  await advance(3 * 3_600_000);
  expect(store.writes.length).toBe(before);
  const two = await start('two');
  await settle(20);
  expect(seenBy(two)).toEqual(['one 0 lives', 'two 0 lives']);
  expect(seenBy(one)).toEqual(['one 0 lives', 'two 0 lives']);
});

test('who stops is gone, who dies is silent after two and a half minutes and forgotten after an hour', async () => {
  const one = await start('one');
  const [two, three] = [await start('two'), await start('three')];
  await two.board.stop();
  three.store.watchDead = true;
  three.store.fault = () => {
    throw new SallyportError('SECRET_STORE_UNAVAILABLE', { problem: 'test' });
  };
  await settle(20);
  expect(seenBy(one)).toEqual(['one 0 lives', 'three 0 lives']);
  await advance(149_999);
  expect(seenBy(one)).toEqual(['one 0 lives', 'three 0 lives']);
  await advance(1);
  expect(seenBy(one)).toEqual(['one 0 lives', 'three 0 is silent']);
  for (let minutes = 0; minutes < 61; minutes++) await advance(60_000);
  expect(seenBy(one)).toEqual(['one 0 lives']);
  expect(three.log.lines.map(({ message }) => message)).toContain(
    'what replicas tell each other cannot be read or stored; trying again',
  );
});

test('what could not be stored is stored once the store is back, and a dead watch delays others by a minute at most', async () => {
  const one = await start('one');
  const two = await start('two');
  one.store.watchDead = true;
  two.store.fault = () => {
    throw new SallyportError('SECRET_STORE_UNAVAILABLE', { problem: 'test' });
  };
  two.board.tell({ rollover: 7 });
  await advance(5_000);
  two.store.fault = () => {};
  await advance(60_000);
  expect(seenBy(one)).toEqual(['one 0 lives', 'two 7 lives']);
});

test('a board that vanished or is damaged is written again by everybody on it', async () => {
  const [one, two] = [await start('one'), await start('two')];
  for (const damage of [
    () => store.remove(SECRET),
    () => store.put({ name: SECRET, data: { 'board.json': Buffer.from('x') } }),
  ]) {
    damage();
    await settle(50);
    await advance(1_000);
    expect(seenBy(one)).toEqual(['one 0 lives', 'two 0 lives']);
    expect(seenBy(two)).toEqual(['one 0 lives', 'two 0 lives']);
  }
});

const warningsOf = ({ log }: { log: { lines: { level: string; message: string }[] } }) =>
  log.lines.filter(({ level }) => level === 'warn').map(({ message }) => message);

test('L8: two living gateways of one name both warn, once, and say what to do, until one is gone', async () => {
  const [one, two, other] = [await start('hub-1'), await start('hub-1'), await start('hub-2')];
  await advance(60_000);
  await advance(60_000);
  for (const gateway of [one, two]) {
    expect(gateway.namesakes.problem()).toMatch(/same name.*hub\.replica/);
    expect(warningsOf(gateway)).toEqual([gateway.namesakes.problem()]);
  }
  expect([other.namesakes.problem(), warningsOf(other)]).toEqual([undefined, []]);
  await two.board.stop();
  await settle(20);
  expect(one.namesakes.problem()).toBeUndefined();
});

test('L8: a gateway that comes back after a crash is no namesake of its former run, which stands on the board still', async () => {
  const crashed = await start('hub-1');
  crashed.store.watchDead = true;
  crashed.store.fault = () => {
    throw new SallyportError('SECRET_STORE_UNAVAILABLE', { problem: 'test' });
  };
  const next = await start('hub-1');
  expect(seenBy(next)).toEqual(['hub-1 0 lives', 'hub-1 0 lives']);
  for (let minutes = 0; minutes < 5; minutes++) {
    await advance(60_000);
    expect([next.namesakes.problem(), warningsOf(next)]).toEqual([undefined, []]);
  }
});
