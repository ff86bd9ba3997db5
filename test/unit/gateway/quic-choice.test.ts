import { expect, test } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import { silentLogger } from '../../../src/core/log.ts';
import { chooseQuic } from '../../../src/gateway/quic-choice.ts';
import { importQuicLibrary } from '../../../src/protocol/quic-library.ts';
import { capturedLog } from '../../support/captured-log.ts';

const failing = (problem: Error) => () => importQuicLibrary(() => Promise.reject(problem));
const absent = failing(Object.assign(new Error('not found'), { code: 'ERR_MODULE_NOT_FOUND' }));
const foreign = failing(new Error('no binary for this platform'));
const command = 'npm install @currentspace/http3';

test('Q5: auto is on where the library is, and off with one line that says how to get it where it is not', async () => {
  expect(await chooseQuic({ log: silentLogger }, 'auto')).toEqual({ isOn: true });
  for (const [load, why] of [
    [absent, command],
    [foreign, 'no binary for this platform'],
  ] as const) {
    const log = capturedLog();
    const choice = await chooseQuic({ log, load }, 'auto');
    expect(choice).toEqual({ isOn: false, whyNot: expect.stringContaining(why) });
    expect(log.lines).toMatchObject([{ level: 'info', message: choice.whyNot }]);
  }
});

test.each([
  ['true', true],
  ['false', false],
  ['auto', 'auto'],
])('Q5: quic.enabled can be set to %s by text', (text, value) => {
  expect(loadConfig({ flags: { 'quic.enabled': text } }).config.quic.enabled).toBe(value);
});

test('Q5: true without the library is an error that names the command; false never loads it', async () => {
  const error = { code: 'QUIC_LIBRARY_MISSING', fix: expect.stringContaining(command) };
  await expect(chooseQuic({ log: silentLogger, load: absent }, true)).rejects.toMatchObject(error);
  expect(await chooseQuic({ log: silentLogger, load: absent }, false)).toEqual({ isOn: false });
});

test('Q5: another word for quic.enabled is refused with those that are allowed', () => {
  expect(() => loadConfig({ flags: { 'quic.enabled': 'maybe' } })).toThrow('it is true, false or auto');
});
