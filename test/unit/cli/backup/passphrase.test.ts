import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { type askHidden, confirm, readPassphrase } from '../../../../src/cli/backup/passphrase.ts';
import { temporaryFolder } from '../../../support/temporary-folder.ts';

const folder = temporaryFolder();
const GOOD = 'correct horse battery';

/** A terminal, as far as the prompt can tell. */
function terminal(...typed: readonly string[]) {
  const raw: boolean[] = [];
  let shown = '';
  let next = 0;
  const input = Object.assign(new PassThrough(), { isTTY: true, setRawMode: (on: boolean) => raw.push(on) });
  const write = (text: string) => {
    shown += text;
    if (text.endsWith(': ') && next < typed.length) setImmediate(() => input.write(typed[next++]!));
  };
  return { streams: { input, output: { write } }, raw, shown: () => shown };
}
const file = (content: string) => {
  const path = join(folder, `${Math.random()}`);
  writeFileSync(path, content);
  return path;
};
const nobody = { input: new PassThrough(), output: { write: () => {} } };
const read = (
  options: { file?: string; isNew?: boolean },
  streams: Parameters<typeof askHidden>[0] = nobody,
  env = {},
) => readPassphrase({ isNew: false, ...options }, streams, env);

test('the file comes before the environment, the environment before the question', async () => {
  const env = { SALLYPORT_PASSPHRASE: 'of the environment' };
  expect(await read({ file: file(`${GOOD}\n`) }, nobody, env)).toBe(GOOD);
  expect(await read({ file: file(`${GOOD}\r\n`) }, nobody, env)).toBe(GOOD);
  expect(await read({}, terminal('typed in\r').streams, env)).toBe('of the environment');
  expect(await read({}, terminal('typed in\r').streams)).toBe('typed in');
});

test('it is typed without echo, twice for a new backup, and may be corrected', async () => {
  const { streams, raw, shown } = terminal(`${GOOD}x\u007f\r`, `${GOOD}\n`);
  expect(await read({ isNew: true }, streams)).toBe(GOOD);
  expect(shown()).not.toContain('horse');
  expect(raw).toEqual([true, false, true, false]);
  await expect(read({ isNew: true }, terminal(`${GOOD}\r`, 'something else\r').streams)).rejects.toThrow(
    'differ',
  );
});

test('where nobody can be asked, it says what to give; an interrupt ends the question', async () => {
  await expect(read({})).rejects.toThrow('--passphrase-file');
  const { streams, raw } = terminal('corr\u0003');
  await expect(read({}, streams)).rejects.toThrow('interrupted');
  expect(raw.at(-1)).toBe(false);
  await expect(read({}, terminal('\r').streams)).rejects.toThrow('empty');
});

test('a short one is refused for a new backup, and accepted to open an old one', async () => {
  await expect(read({ file: file('elevenchars'), isNew: true })).rejects.toThrow('at least 12');
  expect(await read({ file: file('elevenchars') })).toBe('elevenchars');
});

test('a file with several lines or none is refused, and errors quote nothing of it', async () => {
  for (const content of ['', '\n', 'one\ntwo\n']) {
    const error = await read({ file: file(content) }).catch((thrown: unknown) => thrown);
    expect(String(error)).toContain('only line');
    expect(String(error)).not.toContain('two');
  }
  await expect(read({ file: join(folder, 'nowhere') })).rejects.toMatchObject({
    code: 'BACKUP_FILE_UNUSABLE',
  });
});

test('only the word yes is a yes', async () => {
  expect(await confirm('sure?', terminal('yes\n').streams)).toBe(true);
  for (const typed of ['y\n', '\n', 'no\n'])
    expect(await confirm('sure?', terminal(typed).streams)).toBe(false);
  await expect(confirm('sure?', nobody)).rejects.toThrow('--yes');
});
