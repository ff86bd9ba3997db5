import { expect, test } from 'vitest';
import { BackupMonitor } from '../../../src/backup/backup-monitor.ts';
import { RECORD_FIELD, readBackupRecord, writeBackupRecord } from '../../../src/backup/backup-record.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { SallyportError } from '../../../src/core/errors.ts';
import { silentLogger } from '../../../src/core/log.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { MemorySecretStore } from '../../fakes/memory-secret-store.ts';
import { eventually } from '../../support/eventually.ts';

const SECRET = 'sallyport-backup';
const record = { at: '2026-11-20T00:00:00.000Z', caSha256: ['aa'], revocationVersion: 4 };

function monitor(store: MemorySecretStore, caSha256 = 'aa') {
  const [clock, metrics] = [new ManualClock(), createMetrics({ process: false })];
  const components = { store, clock, metrics, log: silentLogger, caSha256: () => caSha256 };
  return { clock, metrics, monitor: new BackupMonitor(components, { secret: SECRET }) };
}

test('L1: when the last backup was, and whether it holds the CA in use, is a metric; zero when there was none', async () => {
  const store = new MemorySecretStore();
  const { clock, metrics, monitor: watched } = monitor(store);
  await watched.start();
  await eventually('it looked', () => store.calls.length === 1);
  expect(await metrics.expose()).toMatch(/^sallyport_last_backup_timestamp_seconds 0$/m);
  await writeBackupRecord({ store, clock: systemClock }, SECRET, record);
  await clock.advance(11 * 60_000);
  await eventually('it looked again', async () =>
    (await metrics.expose()).includes(
      `sallyport_last_backup_timestamp_seconds ${Date.parse(record.at) / 1000}`,
    ),
  );
  expect(await metrics.expose()).toMatch(/^sallyport_last_backup_covers_ca 1$/m);
  await watched.stop();
  const calls = store.calls.length;
  await clock.advance(60 * 60_000);
  expect(store.calls.length).toBe(calls);
});

test('a backup of before a rollover does not cover the CA in use', async () => {
  const store = new MemorySecretStore();
  await writeBackupRecord({ store, clock: systemClock }, SECRET, record);
  expect(await monitor(store, 'bb').monitor.status()).toEqual({
    secret: SECRET,
    last: record,
    coversCa: false,
  });
});

test('a record that cannot be read is a problem and no crash', async () => {
  const store = new MemorySecretStore();
  store.put({ name: SECRET, data: { [RECORD_FIELD]: Buffer.from('null') } });
  expect(await monitor(store).monitor.status()).toMatchObject({ problem: expect.stringContaining('no') });
  store.fault = () => {
    throw new SallyportError('SECRET_STORE_FORBIDDEN', { verb: 'get', secret: SECRET });
  };
  expect(await monitor(store).monitor.status()).toMatchObject({
    coversCa: false,
    problem: expect.stringContaining('refuses get'),
  });
});

test('the record of a later backup stays, a damaged one is replaced', async () => {
  const store = new MemorySecretStore();
  await writeBackupRecord({ store, clock: systemClock }, SECRET, record);
  await writeBackupRecord({ store, clock: systemClock }, SECRET, {
    ...record,
    at: '2026-11-19T00:00:00.000Z',
  });
  expect(await readBackupRecord(store, SECRET)).toEqual(record);
  store.put({ name: SECRET, data: { [RECORD_FIELD]: Buffer.from('{') } });
  await writeBackupRecord({ store, clock: systemClock }, SECRET, record);
  expect(await readBackupRecord(store, SECRET)).toEqual(record);
});
