import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { readLines } from '../../../src/cli/lines.ts';

function setup() {
  const input = new PassThrough();
  const said: string[] = [];
  const stop = readLines(input, {
    maxBytes: 10,
    onLine: (line) => said.push(line),
    onTooLong: () => said.push('too long'),
  });
  const type = async (...chunks: (string | Buffer)[]) => {
    for (const chunk of chunks) input.write(chunk);
    await new Promise(setImmediate);
    return said.splice(0);
  };
  return { input, type, stop, said };
}

test('lines come whole, however they are cut on their way', async () => {
  const { type } = setup();
  expect(await type('one\ntw', 'o\r\n\nthr')).toEqual(['one', 'two', '']);
  const umlaut = Buffer.from('ü\n');
  expect(await type(umlaut.subarray(0, 1), umlaut.subarray(1))).toEqual(['thrü']);
});

test('V2: a line that does not end is told once, kept nowhere, and the next line is read', async () => {
  const { input, type } = setup();
  expect(await type('0123456789\n')).toEqual(['0123456789']);
  expect(await type('0123456789', 'A')).toEqual(['too long']);
  for (let index = 0; index < 100; index++) expect(await type(Buffer.alloc(1_000, 'x'))).toEqual([]);
  expect(input.readableLength).toBe(0);
  expect(await type('the rest\nnext\n0123456789x\nlast\n')).toEqual(['next', 'too long', 'last']);
});

test('what stands after the last end of line is a line when the input ends', async () => {
  const { input, type, said } = setup();
  expect(await type('no end')).toEqual([]);
  input.end();
  await new Promise(setImmediate);
  expect(said).toEqual(['no end']);
});

test('nothing is told after the stop', async () => {
  const { type, stop } = setup();
  stop();
  expect(await type('line\n')).toEqual([]);
});
