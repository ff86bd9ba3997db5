import { Writable } from 'node:stream';
import { expect, test } from 'vitest';
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
