import { expect, test } from 'vitest';
import { CaExpiryWatch } from '../../../../src/certs/ca/ca-expiry-watch.ts';
import type { GatewayEvent } from '../../../../src/contracts/event-recorder.ts';
import { createMetrics } from '../../../../src/core/metrics.ts';
import { ManualClock } from '../../../fakes/manual-clock.ts';
import { captureLog } from '../../../support/capture-log.ts';
import { freshSource } from '../../../support/pki/fixed-source.ts';

const DAY_MS = 86_400_000;

test('C5: a CA that comes to its end raises the gauge and leaves an event at 180, 30 and 7 days, and at the end, once each', async () => {
  const { source, ca } = await freshSource();
  const end = ca.certificate.validToDate.getTime();
  const clock = new ManualClock(end - 200 * DAY_MS);
  const metrics = createMetrics({ process: false });
  const { log, records } = captureLog();
  const events: GatewayEvent[] = [];
  const watch = new CaExpiryWatch(
    { source, clock, log, metrics, events: { record: (event) => void events.push(event) } },
    { caSecret: 'casecret' },
  );
  await watch.start();
  const level = async () =>
    Number(
      new RegExp(`sallyport_ca_expiry_level{.*sha256="${ca.sha256}"} (\\d)`).exec(
        await metrics.expose(),
      )?.[1],
    );
  const seen: unknown[] = [];
  for (const daysLeft of [200, 179, 100, 29, 8, 6, -1]) {
    await clock.advance(end - daysLeft * DAY_MS - clock.now());
    seen.push([daysLeft, await level(), events.length]);
  }
  expect(seen).toEqual([
    [200, 0, 0],
    [179, 1, 1],
    [100, 1, 1],
    [29, 2, 2],
    [8, 2, 2],
    [6, 3, 3],
    [-1, 4, 4],
  ]);
  expect(
    events.every(({ reason, type }) => reason === 'CertificateAuthorityExpiring' && type === 'Warning'),
  ).toBe(true);
  expect(events.map(({ message }) => / (ends within \d+ days|has ended),/.exec(message)?.[1])).toEqual([
    'ends within 180 days',
    'ends within 30 days',
    'ends within 7 days',
    'has ended',
  ]);
  expect(records().map((record) => record.level)).toEqual(['warn', 'error', 'error', 'error']);
  await watch.stop();
  expect(clock.pending).toBe(0);
});
