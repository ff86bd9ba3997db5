import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { encodeBackup } from '../../src/backup/backup-content.ts';
import { seal } from '../../src/backup/sealed-container.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';
import { backupOf, caSecret, tokenSecret } from '../support/pki/backups.ts';
import { mintCa } from '../support/pki/pki.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const folder = temporaryFolder();
const PASSPHRASE = 'Käse "und" 12 $Löcher';

/**
 * The command that docs/operations.md gives for opening a backup by hand, run by a shell as a person would.
 */
const command = /^openssl cms -decrypt .*$/m.exec(readFileSync('docs/operations.md', 'utf8'))![0];

function openssl(): ReturnType<typeof spawnSync> {
  rmSync(join(folder, 'fleet.json'), { force: true });
  const done = spawnSync('sh', ['-c', command], { cwd: folder, encoding: 'utf8' });
  // Without the program there is no proof: that is a failure, not a reason to skip.
  expect(done.status, String(done.stderr)).not.toBe(127);
  return done;
}

test('the documented openssl command opens a backup, and what is in it starts a gateway by hand', async () => {
  const ca = await mintCa();
  const backup = backupOf([
    { role: 'ca', secret: caSecret(ca) },
    { role: 'tokens', secret: tokenSecret() },
  ]);
  writeFileSync(join(folder, 'fleet.backup'), await seal(encodeBackup(backup), PASSPHRASE));
  writeFileSync(join(folder, 'passphrase'), `${PASSPHRASE}\n`);
  const done = openssl();
  expect(done.status, String(done.stderr)).toBe(0);
  const bytes = readFileSync(join(folder, 'fleet.json'));
  expect(bytes.equals(Buffer.from(encodeBackup(backup)))).toBe(true);

  const { items } = JSON.parse(bytes.toString()) as { items: { metadata: { name: string } }[] };
  const secrets = join(folder, 'secrets');
  await using hub = await startTestGateway({ folder: secrets });
  expect(hub.gateway.ready().caSha256).not.toBe(ca.sha256);
  await hub.stop();
  rmSync(secrets, { recursive: true });
  const byHand = mkdtempSync(join(folder, 'by-hand-'));
  for (const item of items)
    writeFileSync(join(byHand, `${item.metadata.name}.yaml`), JSON.stringify(item), { mode: 0o600 });
  await using second = await startTestGateway({ folder: byHand });
  expect(second.gateway.ready().caSha256).toBe(ca.sha256);
});

test('openssl opens neither with another passphrase nor what was altered', async () => {
  const sealed = await seal(Buffer.from('{}'.repeat(500)), PASSPHRASE);
  writeFileSync(join(folder, 'fleet.backup'), sealed);
  writeFileSync(join(folder, 'passphrase'), 'another one\n');
  expect(openssl().status).not.toBe(0);
  writeFileSync(join(folder, 'passphrase'), `${PASSPHRASE}\n`);
  expect(openssl().status).toBe(0);
  const der = Buffer.from(sealed.split('\n').slice(1, -2).join(''), 'base64');
  der[der.length - 200]! ^= 1;
  writeFileSync(
    join(folder, 'fleet.backup'),
    `-----BEGIN CMS-----\n${der.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END CMS-----\n`,
  );
  expect(openssl().status).not.toBe(0);
});
