import { beforeEach, expect, test } from 'vitest';
import type { CertificateBundle } from '../../../src/contracts/certificate-source.ts';
import type { RejectionReport } from '../../../src/contracts/rejections.ts';
import { SwapWatch } from '../../../src/selfcheck/swap-watch.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { capturedLog } from '../../support/captured-log.ts';

const MINUTE = 60_000;
const bundle = (sha256: string, cas = ['ca']) =>
  ({ server: { sha256 }, clientCAs: cas.map((one) => ({ sha256: one })) }) as unknown as CertificateBundle;

let clock: ManualClock;
let watch: SwapWatch;
let returned: string[];
beforeEach(() => {
  clock = new ManualClock();
  returned = [];
  watch = new SwapWatch(
    {
      clock,
      log: capturedLog(),
      returnToPrevious: async (problem) => {
        returned.push(problem);
        return true;
      },
    },
    () => ({ nodes: 3, windowMs: 10 * MINUTE }),
  );
});

const address = (n: number) => `192.0.2.${n}`;
const fail = (from: string, more: Partial<RejectionReport> = {}) =>
  watch.rejected({
    listener: 'websocket',
    reason: 'client-unknown-ca',
    remoteAddress: from,
    detail: '',
    ...more,
  });
/** Nodes 1 to `count` are here, each from its own address, or all from one. */
const connect = (count: number, from = address) => {
  for (let n = 1; n <= count; n++) watch.nodeConnected(`edge-${n}`, from(n));
};
const leave = (count: number) => {
  for (let n = 1; n <= count; n++) watch.nodeDisconnected(`edge-${n}`);
};
const swap = () => watch.swapped(bundle('new'), bundle('old'));

test('B6: nodes that lost their session and fail from where they were bring the previous certificate back', async () => {
  connect(10);
  swap();
  leave(3);
  fail(address(1));
  fail(address(2));
  await clock.advance(2_000);
  expect(returned).toEqual([]);
  fail(address(3), { reason: 'disconnected' });
  await clock.advance(2_000);
  expect(returned).toEqual([
    '3 nodes that were connected cannot connect to the new hub certificate, and 0 can',
  ]);
});

test('a flood of strangers, or of attackers at the addresses of healthy nodes, brings nothing back', async () => {
  connect(10);
  swap();
  for (let n = 0; n < 5_000; n++) fail(`198.51.100.${n % 250}`);
  for (let n = 1; n <= 10; n++) for (let i = 0; i < 500; i++) fail(address(n));
  await clock.advance(5_000);
  expect(returned).toEqual([]);
});

test('behind one address, nodes that are gone count once each, and not at all when one of them connects', async () => {
  const balancer = () => '203.0.113.1';
  connect(10, balancer);
  swap();
  leave(2);
  for (let i = 0; i < 1_000; i++) fail(balancer());
  await clock.advance(2_000);
  expect(returned).toEqual([]);
  watch.nodeConnected('edge-1', balancer());
  leave(10);
  for (let i = 0; i < 1_000; i++) fail(balancer());
  await clock.advance(2_000);
  expect(returned).toEqual([]);
});

test('failures at the rate of before are nothing new, a jump is', async () => {
  connect(20);
  for (let i = 0; i < 60; i++) {
    for (let n = 1; n <= 4; n++) fail(address(n));
    await clock.advance(10_000);
  }
  swap();
  leave(4);
  for (let i = 0; i < 30; i++) {
    await clock.advance(10_000);
    for (let n = 1; n <= 4; n++) fail(address(n));
  }
  expect(returned).toEqual([]);
  for (let n = 1; n <= 4; n++) for (let i = 0; i < 60; i++) fail(address(n));
  await clock.advance(2_000);
  expect(returned).toHaveLength(1);
});

test('more nodes that connect than are cut off: the certificate stays', async () => {
  connect(20);
  swap();
  leave(20);
  for (let n = 5; n <= 20; n++) watch.nodeConnected(`edge-${n}`, address(n));
  for (let n = 1; n <= 4; n++) for (let i = 0; i < 50; i++) fail(address(n));
  await clock.advance(2_000);
  expect(returned).toEqual([]);
});

test('after the window, and after a change of trust alone, nothing returns; QUIC alerts are not believed when trust changed too', async () => {
  connect(5);
  swap();
  leave(5);
  await clock.advance(11 * MINUTE);
  for (let n = 1; n <= 5; n++) fail(address(n));
  await clock.advance(2_000);
  expect(returned).toEqual([]);

  connect(5);
  watch.swapped(bundle('new', ['ca', 'other']), bundle('new'));
  leave(5);
  for (let n = 1; n <= 5; n++) fail(address(n));
  await clock.advance(2_000);
  expect(returned).toEqual([]);

  connect(5);
  watch.swapped(bundle('newer', ['ca']), bundle('new', ['ca', 'other']));
  leave(5);
  for (let n = 1; n <= 5; n++) fail(address(n), { listener: 'quic', reason: 'unknown-ca' });
  await clock.advance(2_000);
  expect(returned).toEqual([]);
  expect(clock.pending).toBe(0);
});
