import { expect, test } from 'vitest';
import { CloudCores } from '../../../src/relay/cloudcores.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';

const NODES = Array.from({ length: 1_000 }, (_, n) => `edge-${n}`);

function three() {
  const clock = new ManualClock();
  const options = { addresses: ['a:1', 'b:1', 'c:1'], tunnelAddresses: [], httpsAddresses: [] };
  const choosing = () => new CloudCores({ clock }, () => options);
  const cloudcores = choosing();
  const places = (of = cloudcores) => NODES.map((node) => of.pick(node).address);
  return { clock, options, cloudcores, choosing, places, named: (name: string) => byName(cloudcores, name) };
}
const byName = (all: CloudCores, name: string) => all.list().find(({ address }) => address === name)!;

test('U5: nodes are spread evenly, and every gateway chooses alike, whatever the order of the addresses', () => {
  const { options, choosing, places } = three();
  const first = places();
  for (const address of options.addresses)
    expect(first.filter((one) => one === address).length).toBeGreaterThan(NODES.length / 4);
  options.addresses = options.addresses.toReversed();
  expect(places(choosing())).toEqual(first);
});

test('U5: without one CloudCore only its own nodes move', () => {
  const { options, places } = three();
  const before = places();
  options.addresses = ['a:1', 'c:1'];
  const after = places();
  for (const [at, place] of before.entries()) if (place !== 'b:1') expect(after[at]).toBe(place);
  expect(new Set(after)).toEqual(new Set(['a:1', 'c:1']));
});

test('U5: three failures in a row close an address for a while, a success opens it', async () => {
  const { clock, cloudcores, named } = three();
  const node = NODES.find((one) => cloudcores.pick(one).address === 'a:1')!;
  const fail = (times: number) => {
    for (let n = 0; n < times; n++) cloudcores.failed(named('a:1'));
  };
  fail(2);
  expect(cloudcores.pick(node).address).toBe('a:1');
  cloudcores.works(named('a:1'));
  fail(2);
  expect(cloudcores.pick(node).address).toBe('a:1');
  fail(1);
  expect(cloudcores.pick(node).address).not.toBe('a:1');
  await clock.advance(1_000);
  expect(cloudcores.pick(node).address).toBe('a:1');
  fail(10);
  await clock.advance(7_000);
  expect(cloudcores.pick(node).address).not.toBe('a:1');
  await clock.advance(8_000);
  expect(cloudcores.pick(node).address).toBe('a:1');
});

test('U2: when all are closed the one that opens soonest is tried; one is passed over only for another that works', () => {
  const { cloudcores, named } = three();
  for (const [name, times] of [
    ['a:1', 12],
    ['b:1', 3],
    ['c:1', 12],
  ] as const)
    for (let n = 0; n < times; n++) cloudcores.failed(named(name));
  expect(cloudcores.pick('n').address).toBe('b:1');
  cloudcores.works(named('a:1'));
  expect(cloudcores.pick('n', named('a:1')).address).toBe('a:1');
  cloudcores.works(named('c:1'));
  expect(cloudcores.pick('n', named('a:1')).address).toBe('c:1');
});
