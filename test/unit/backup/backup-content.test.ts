import { beforeAll, expect, test } from 'vitest';
import { decodeBackup, encodeBackup, readForBackup } from '../../../src/backup/backup-content.ts';
import { backupNames } from '../../../src/backup/backup-names.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { MemorySecretStore } from '../../fakes/memory-secret-store.ts';
import { backupOf, caSecret, NAMES, tokenSecret } from '../../support/pki/backups.ts';
import { mintCa, type Pair } from '../../support/pki/pki.ts';

let ca: Pair;
beforeAll(async () => {
  ca = await mintCa();
});
const NOW = Date.UTC(2026, 10, 24);
const wish = { names: NAMES, now: NOW, version: '1.2.3' };

test('every Secret that a setting names is backed up, except what is issued anew; the CA is written last', () => {
  const { certificates, tokens } = configSchema.parse({});
  const later = { ...certificates, rolloverSecret: 'sallyport-rollover', caDays: 1 };
  const names = backupNames({ certificates: later, tokens });
  expect(names).toContainEqual({ role: 'other', name: 'sallyport-rollover' });
  expect(names[0]).toEqual({ role: 'revocations', name: 'sallyport-revocations' });
  expect(names.at(-1)).toEqual({ role: 'ca', name: 'casecret' });
  const all = names.map(({ name }) => name);
  for (const name of ['cloudcoresecret', 'tokensecret', 'sallyport-backup']) expect(all).not.toContain(name);
  for (const name of ['sallyport-trust', 'sallyport-tokens']) expect(all).toContain(name);
});

test('what is read comes back byte for byte, with what did not exist', async () => {
  const store = new MemorySecretStore();
  store.put(caSecret(ca));
  store.put({ ...tokenSecret(), type: 'Opaque' });
  const backup = await readForBackup(store, wish);
  const decoded = decodeBackup(encodeBackup(backup));
  expect(decoded.createdAt).toBe('2026-11-24T00:00:00.000Z');
  expect(decoded.secrets.map(({ role, secret }) => [role, secret.name])).toEqual([
    ['tokens', 'sallyport-tokens'],
    ['ca', 'casecret'],
  ]);
  for (const { secret } of decoded.secrets)
    for (const [key, bytes] of Object.entries(store.peek(secret.name)!.data))
      expect(Buffer.compare(bytes, secret.data[key]!)).toBe(0);
  expect(decoded.missing.map(({ name }) => name)).toEqual([
    'sallyport-revocations',
    'sallyport-trust',
    'sallyport-rollover',
  ]);
});

test('what is inside is a List of Secrets that kubectl takes', () => {
  const text = Buffer.from(encodeBackup(backupOf([{ role: 'ca', secret: caSecret(ca) }]))).toString();
  const list = JSON.parse(text) as { kind: string; items: unknown[] };
  expect(list).toMatchObject({ apiVersion: 'v1', kind: 'List' });
  expect(list.items).toEqual([
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'casecret' },
      type: 'Opaque',
      data: expect.objectContaining({ cadata: ca.der.toString('base64') }),
    },
  ]);
});

test('a Secret that changes while the others are read is read again: the backup is of one moment', async () => {
  const store = new MemorySecretStore();
  store.put(caSecret(ca));
  store.put(tokenSecret({ epoch: 1 }));
  let changes = 3;
  store.fault = (_call, name) => {
    if (name === 'casecret' && changes-- > 0) store.put(tokenSecret({ epoch: 10 + changes }));
  };
  const { secrets } = await readForBackup(store, wish);
  const stored = secrets.find(({ role }) => role === 'tokens')!.secret;
  expect(stored.version).toBe(store.peek('sallyport-tokens')!.version);
  store.fault = (_call, name) => {
    if (name === 'casecret') store.put(tokenSecret());
  };
  await expect(readForBackup(store, wish)).rejects.toMatchObject({ code: 'BACKUP_INCOMPLETE' });
});

test('without a CA there is nothing worth a backup', async () => {
  await expect(readForBackup(new MemorySecretStore(), wish)).rejects.toMatchObject({
    code: 'BACKUP_INCOMPLETE',
  });
});

test.each([
  ['no JSON', 'hello'],
  ['another document', '{}'],
  ['a later format', JSON.stringify({ sallyport: { format: 2 }, items: [] })],
  [
    'no Secrets',
    JSON.stringify({
      sallyport: { format: 1, createdAt: '2026-01-01', version: '', location: '', roles: {}, missing: [] },
      items: [],
    }),
  ],
  [
    'a Secret without a role',
    JSON.stringify({
      sallyport: { format: 1, createdAt: '2026-01-01', version: '', location: '', roles: {}, missing: [] },
      items: [{ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'casecret' } }],
    }),
  ],
])('%s is refused', (_what, text) => {
  expect(() => decodeBackup(Buffer.from(text))).toThrow(
    expect.objectContaining({ code: 'BACKUP_UNREADABLE' }),
  );
});

test('a name that would lead out of a folder is refused', () => {
  const bytes = Buffer.from(encodeBackup(backupOf([{ role: 'ca', secret: caSecret(ca) }])));
  const evil = Buffer.from(bytes.toString().replaceAll('casecret', '../casecret'));
  expect(() => decodeBackup(evil)).toThrow(expect.objectContaining({ code: 'SECRET_MALFORMED' }));
});
