import { expect, test } from 'vitest';
import { CrlKeeper } from '../../../../src/certs/revocation/crl-keeper.ts';
import { SallyportError } from '../../../../src/core/errors.ts';
import { ManualClock } from '../../../fakes/manual-clock.ts';
import { captureLog } from '../../../support/capture-log.ts';

test('L1: the CRL is signed at the start and again each hour though nobody fetches it, until the stop', async () => {
  const clock = new ManualClock();
  const { log, records } = captureLog();
  const hours = new Set<number>();
  const crl = {
    current: async () => {
      hours.add(Math.floor(clock.now() / 3_600_000));
      return { der: new Uint8Array(), nextUpdate: new Date(0) };
    },
  };
  const keeper = new CrlKeeper({ clock, log, crl });
  await keeper.start();
  expect(hours.size).toBe(1);
  await clock.advance(24 * 3_600_000);
  expect(hours.size).toBe(25);
  await keeper.stop();
  expect(clock.pending).toBe(0);
  expect(records()).toEqual([]);
});

test('a CA that may not sign a CRL is no failure; anything else is said, and tried again', async () => {
  const clock = new ManualClock();
  const { log, records } = captureLog();
  let attempts = 0;
  let cause: Error = new SallyportError('CRL_UNAVAILABLE', { problem: 'no cRLSign' });
  const crl = {
    current: () => {
      attempts++;
      return Promise.reject(cause);
    },
  };
  const keeper = new CrlKeeper({ clock, log, crl });
  await keeper.start();
  expect(records()).toEqual([]);
  cause = new Error('no entropy');
  await clock.advance(3_600_000);
  expect(attempts).toBeGreaterThan(2);
  expect(records()[0]).toMatchObject({ problem: 'no entropy', msg: 'the CRL could not be signed' });
  await keeper.stop();
});
