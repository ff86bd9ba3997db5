import { Writable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { SallyportError } from '../../../src/core/errors.ts';
import { LogSampler } from '../../../src/core/log.ts';
import { createLogger } from '../../../src/core/pino-log.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';

function capture() {
  const lines: string[] = [];
  const destination = new Writable({
    write(chunk, _, done) {
      lines.push(String(chunk));
      done();
    },
  });
  return { lines, log: createLogger({ level: 'info', format: 'json', destination }) };
}

test('a change of the level reaches children and their children, wherever they were made', () => {
  const { lines, log } = capture();
  const child = log.child({ listener: 'quic' });
  const grandchild = child.child({ node: 'edge-1' });
  log.level = 'debug';
  for (const one of [log, child, grandchild]) one.debug({}, 'seen');
  log.level = 'error';
  for (const one of [log, child, grandchild]) one.warn({}, 'not seen');
  expect(lines.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual(['seen', 'seen', 'seen']);
  expect(log.level).toBe('error');
});

test('A10: a field that is called like a secret is not written', () => {
  const { lines, log } = capture();
  log.info({ token: 'abc', nested: { privateKey: 'def', cakeydata: 'ghi' } }, 'hello');
  expect(lines[0]).not.toMatch(/abc|def|ghi/);
});

describe('an error in a line', () => {
  const { lines, log } = capture();
  /** What the line says of the error. */
  const written = (err: unknown) => {
    log.error({ err }, 'it failed');
    return (JSON.parse(lines.at(-1)!) as { err: { stack?: string } }).err;
  };
  const refused = Object.assign(new Error('connect ECONNREFUSED 192.0.2.1:443'), { code: 'ECONNREFUSED' });
  const known = new SallyportError('SECRET_STORE_UNAVAILABLE', { problem: 'no answer' }, refused);

  test('L10: has text, code and fix when it is one that happens, and its stack at debug alone', () => {
    expect(written(known)).toEqual({
      code: 'SECRET_STORE_UNAVAILABLE',
      message: expect.stringMatching(/no answer.*connect ECONNREFUSED/),
      fix: known.fix,
    });
    expect(written(refused)).toEqual({ code: 'ECONNREFUSED', message: refused.message });
    log.level = 'debug';
    expect(written(known).stack).toContain('log.test.ts');
    log.level = 'info';
  });

  test('L10: keeps its stack when it is a fault in a program, also as the cause of another', () => {
    const fault = new TypeError('undefined is not a function');
    const invalid = Object.assign(new TypeError('not a string'), { code: 'ERR_INVALID_ARG_TYPE' });
    for (const err of [fault, invalid, new Error('surprise'), new SallyportError('INTERNAL', {}, fault)])
      expect(written(err).stack).toContain('log.test.ts');
  });

  test('that is none is written as it is', () => {
    expect(written('no error')).toBe('no error');
  });
});

test('I14: one line a key and period, and the next says how many were held back', async () => {
  const clock = new ManualClock();
  const sampler = new LogSampler({ clock, periodMs: 60_000 });
  expect([sampler.pass('a'), sampler.pass('a'), sampler.pass('a'), sampler.pass('b')]).toEqual([
    0,
    undefined,
    undefined,
    0,
  ]);
  await clock.advance(60_000);
  expect(sampler.pass('a')).toBe(2);
});
