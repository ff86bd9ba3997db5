import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { open, seal } from '../../../src/backup/sealed-container.ts';

const PASSPHRASE = 'Käse und 12 Löcher';
const fast = { iterations: 10 };
const content = Buffer.from('{"cakeydata":"not for everybody"}');

test('what was sealed opens with its passphrase, is never the same twice, and shows nothing of what it holds', async () => {
  const [first, second] = [await seal(content, PASSPHRASE, fast), await seal(content, PASSPHRASE, fast)];
  expect((await open(Buffer.from(first), PASSPHRASE)).equals(content)).toBe(true);
  expect(first).not.toBe(second);
  const bytes = Buffer.from(first.split('\n').slice(1, -2).join(''), 'base64');
  expect(bytes.includes('cakeydata')).toBe(false);
  expect(bytes.includes(PASSPHRASE)).toBe(false);
});

test.each([0, 1, 31, 32, 127, 128, 65_536, 3_000_000])('%i bytes come back as they were', async (length) => {
  const bytes = randomBytes(length);
  const sealed = await seal(bytes, PASSPHRASE, fast);
  expect((await open(Buffer.from(sealed), PASSPHRASE)).equals(bytes)).toBe(true);
});

test('by default a guess costs 600,000 rounds of PBKDF2', async () => {
  const sealed = await seal(content, PASSPHRASE);
  const bytes = Buffer.from(sealed.split('\n').slice(1, -2).join(''), 'base64');
  expect(bytes.includes(Buffer.from([0x02, 0x03, 0x09, 0x27, 0xc0]))).toBe(true);
});

test('another passphrase is refused, and the error names none', async () => {
  const sealed = Buffer.from(await seal(content, PASSPHRASE, fast));
  for (const wrong of ['', 'another one', `${PASSPHRASE} `]) {
    const error = await open(sealed, wrong).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'BACKUP_PASSPHRASE' });
    expect(JSON.stringify(error) + String(error)).not.toContain(PASSPHRASE);
  }
});

test('whichever byte is altered or cut off, it does not open', async () => {
  const sealed = await seal(content, PASSPHRASE, fast);
  const bytes = Buffer.from(sealed.split('\n').slice(1, -2).join(''), 'base64');
  const pem = (der: Buffer) =>
    Buffer.from(`-----BEGIN CMS-----\n${der.toString('base64')}\n-----END CMS-----\n`);
  expect((await open(pem(bytes), PASSPHRASE)).equals(content)).toBe(true);
  const opened: number[] = [];
  for (let at = 0; at < bytes.length; at++) {
    const altered = Buffer.from(bytes);
    altered[at]! ^= 0x01;
    const result = await open(pem(altered), PASSPHRASE).catch((error: { code?: string }) => error);
    if (Buffer.isBuffer(result)) opened.push(at);
    else expect(['BACKUP_PASSPHRASE', 'BACKUP_UNREADABLE']).toContain(result.code);
  }
  expect(opened).toEqual([]);
  for (const length of [0, 1, 10, bytes.length - 1])
    await expect(open(pem(bytes.subarray(0, length)), PASSPHRASE)).rejects.toMatchObject({
      code: 'BACKUP_UNREADABLE',
    });
});

test('a file that is something else is refused', async () => {
  for (const text of ['', 'hello', '-----BEGIN CMS-----', '-----BEGIN CMS-----\n***\n-----END CMS-----'])
    await expect(open(Buffer.from(text), PASSPHRASE)).rejects.toMatchObject({ code: 'BACKUP_UNREADABLE' });
});

test('a file that asks for years of work is refused at once', async () => {
  const sealed = await seal(content, PASSPHRASE, { iterations: 0x010203 });
  const bytes = Buffer.from(sealed.split('\n').slice(1, -2).join(''), 'base64');
  const at = bytes.indexOf(Buffer.from([0x02, 0x03, 0x01, 0x02, 0x03]));
  bytes[at + 2] = 0x7f;
  const hostile = `-----BEGIN CMS-----\n${bytes.toString('base64')}\n-----END CMS-----\n`;
  await expect(open(Buffer.from(hostile), PASSPHRASE)).rejects.toMatchObject({
    code: 'BACKUP_UNREADABLE',
    message: expect.stringContaining('iterations'),
  });
});
