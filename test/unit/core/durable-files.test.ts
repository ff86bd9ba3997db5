import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { makeFolder } from '../../../src/core/durable-files.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

let base: string;
beforeEach(() => {
  base = temporaryFolder();
});

test('a folder is made with those above it, for its owner alone, and one that is there stays', () => {
  const folder = join(base, 'a', 'b');
  expect(makeFolder(folder)).toBe(true);
  for (const made of [folder, join(base, 'a')]) expect(statSync(made).mode & 0o777).toBe(0o700);
  expect(makeFolder(folder)).toBe(false);
});

test('what is no folder is not taken for one', () => {
  const file = join(base, 'file');
  writeFileSync(file, '');
  expect(() => makeFolder(file)).toThrow(expect.objectContaining({ code: 'EEXIST' }));
  expect(() => makeFolder(join(file, 'below'))).toThrow(expect.objectContaining({ code: 'ENOTDIR' }));
});

test('where no folder can be made, as below /proc, there is an error and no endless attempt', () => {
  for (const folder of ['/proc/self/fd/none', '/proc/none/below'])
    expect(() => makeFolder(folder)).toThrow(/mkdir/);
});
