import { readdirSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { withCommandAudit } from '../../../src/audit/command-audit.ts';
import { openAuditTrail } from '../../../src/audit/open-audit-trail.ts';
import { readAudit, verifyAudit } from '../../../src/audit/read-audit.ts';
import { silentLogger } from '../../../src/core/log.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { ManualClock, settle } from '../../fakes/manual-clock.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

let path = '';
beforeEach(() => {
  path = temporaryFolder();
});

const clock = new ManualClock();
const parts = { clock, log: silentLogger, metrics: createMetrics({ process: false }) };
const options = () => ({ path, fileBytes: 1_000_000, files: 20 });
const issue = (who: string, meanwhile: () => unknown = () => {}) =>
  withCommandAudit(parts, options(), async (audit) => {
    await meanwhile();
    return audit.record({ action: 'admin-certificate-issued', who });
  });
const issuedBy = () =>
  readAudit(path).flatMap(({ action, who }) => (action === 'admin-certificate-issued' ? [who] : []));

test('P1: commands write one chain one after another, beside that of a gateway, and every chain holds', async () => {
  const gateway = openAuditTrail(parts, () => ({ ...options(), replica: hostname() }));
  const goOn = Promise.withResolvers<void>();
  const first = issue('first', () => goOn.promise);
  const others = ['second', 'third', 'fourth'].map((who) => issue(who));
  for (let look = 0; look < 5; look++) await clock.advance(20);
  expect(issuedBy()).toEqual([]);
  gateway.record({ action: 'revoked', who: 'admin' });
  goOn.resolve();
  expect(await first).toBe(true);
  while (issuedBy().length < 4) await clock.advance(20);
  await Promise.all(others);
  gateway.record({ action: 'revocation-lifted', who: 'admin' });
  expect(issuedBy().sort()).toEqual(['first', 'fourth', 'second', 'third']);
  const { chains } = verifyAudit(path);
  expect(chains).toHaveLength(2);
  expect(chains.flatMap(({ broken }) => broken ?? [])).toEqual([]);
  expect(readAudit(path).map(({ action }) => action)).not.toContain('audit-file-changed');
});

test('a failure leaves no line and holds nobody up', async () => {
  const failing = issue('never', () => Promise.reject(new Error('broken')));
  await expect(failing).rejects.toThrow('broken');
  expect(await issue('again')).toBe(true);
  expect(issuedBy()).toEqual(['again']);
});

test('a folder that cannot be written is told before anything is done, and without a folder nothing is kept', async () => {
  writeFileSync(join(path, 'file'), '');
  let done = 0;
  const wrong = { ...options(), path: join(path, 'file', 'audit') };
  const task = async () => void done++;
  await expect(withCommandAudit(parts, wrong, task)).rejects.toMatchObject({ code: 'AUDIT_FOLDER_UNUSABLE' });
  expect(done).toBe(0);
  await withCommandAudit(parts, { ...options(), path: undefined }, task);
  await settle();
  expect([done, readdirSync(path)]).toEqual([1, ['file']]);
});
