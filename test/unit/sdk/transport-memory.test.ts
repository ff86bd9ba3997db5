import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { silentLogger } from '../../../src/core/log.ts';
import { TransportMemory } from '../../../src/sdk/transport-memory.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

let directory: string;
const remembering = () => new TransportMemory(directory, { logger: silentLogger });
const file = () => join(directory, 'transports.json');

beforeEach(() => {
  directory = temporaryFolder();
});

test('what was seen to work is known after a restart, until it is forgotten', async () => {
  await remembering().add('quic://hub:1');
  expect(await remembering().has('quic://hub:1')).toBe(true);
  expect(await remembering().has('quic://hub:2')).toBe(false);
  await remembering().delete('quic://hub:1');
  expect(await remembering().has('quic://hub:1')).toBe(false);
  expect(await readdir(directory)).toEqual(['transports.json']);
});

test.each(['', '{"seenToWo', 'null', '[]', '{"seenToWork":"quic://hub:1"}', '{"seenToWork":[1,null,{}]}'])(
  'a broken file (%s) is like none, and the next sight mends it',
  async (content) => {
    await writeFile(file(), content);
    const memory = remembering();
    expect(await memory.has('quic://hub:1')).toBe(false);
    await memory.add('quic://hub:1');
    expect(await remembering().has('quic://hub:1')).toBe(true);
  },
);

test('a folder that is gone, or that takes no file, is nothing bad', async () => {
  await rm(directory, { recursive: true });
  const memory = remembering();
  await memory.add('quic://hub:1');
  expect(await memory.has('quic://hub:1')).toBe(true);
  await memory.delete('quic://hub:1');
});

test('keeps the latest eight addresses, and none that is no address', async () => {
  const memory = remembering();
  for (let n = 1; n <= 20; n++) await memory.add(`quic://hub:${n}`);
  await memory.add(`quic://${'h'.repeat(400)}:1`);
  const { seenToWork } = JSON.parse(await readFile(file(), 'utf8'));
  expect(seenToWork).toEqual([13, 14, 15, 16, 17, 18, 19, 20].map((n) => `quic://hub:${n}`));
});
