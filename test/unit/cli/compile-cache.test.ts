import { chmodSync, mkdirSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { ownFolder } from '../../../src/cli/compile-cache.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const uid = process.getuid!();
let base: string;
beforeEach(() => {
  base = temporaryFolder();
});

test('L7: the folder of compiled code is made for its user alone, and used again', () => {
  const folder = join(base, 'a', 'sallyport');
  expect(ownFolder(folder, uid)).toBe(folder);
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  expect(ownFolder(folder, uid)).toBe(folder);
});

test('L7: a folder that others could write to, a link, and the folder of another user are not used', () => {
  const open = join(base, 'open');
  mkdirSync(open);
  chmodSync(open, 0o770);
  const link = join(base, 'link');
  symlinkSync(base, link);
  for (const folder of [open, link]) expect(() => ownFolder(folder, uid), folder).toThrow('not ours alone');
  expect(() => ownFolder(base, uid + 1)).toThrow('not ours alone');
});
