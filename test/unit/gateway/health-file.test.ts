import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { HealthRegistry } from '../../../src/core/health.ts';
import { silentLogger } from '../../../src/core/log.ts';
import { HealthFile } from '../../../src/gateway/health-file.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { capturedLog } from '../../support/captured-log.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { advanceUntil } from '../../support/while-advancing.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = temporaryFolder();
  file = join(folder, 'ready');
});

function parts(log = silentLogger) {
  const health = new HealthRegistry();
  const state = { problem: undefined as string | undefined };
  health.register('bus', ['readyz'], () => {
    if (state.problem) throw new Error(state.problem);
    return undefined;
  });
  const clock = new ManualClock();
  return { clock, state, component: new HealthFile({ clock, log, health }, file) };
}

test('L7: the health file is there while the gateway is ready, written anew every 5 s, and gone after the stop', async () => {
  const { clock, state, component } = parts();
  await component.start();
  const first = readFileSync(file, 'utf8');
  await advanceUntil(clock, () => readFileSync(file, 'utf8') !== first);
  state.problem = 'NATS is away';
  await advanceUntil(clock, () => !existsSync(file));
  state.problem = undefined;
  await advanceUntil(clock, () => existsSync(file));
  await component.stop();
  expect(existsSync(file)).toBe(false);
});

test('L7: a file that cannot be written is told of once, and nothing else fails', async () => {
  rmSync(folder, { recursive: true });
  const log = capturedLog();
  const { clock, component } = parts(log);
  await component.start();
  await clock.advance(20_000);
  await component.stop();
  expect(
    log.lines.filter((line) => JSON.stringify(line).includes('health file cannot be written')),
  ).toHaveLength(1);
});

test("L7: the image's HEALTHCHECK passes with a file of the last seconds, and not with an older one or none", () => {
  const [, words] = /^HEALTHCHECK .* CMD (\[.*\])$/m.exec(readFileSync('Dockerfile', 'utf8'))!;
  const [command, ...args] = (JSON.parse(words!) as string[]).map((word) =>
    word.replaceAll('/run/sallyport/ready', file),
  );
  const passes = () => {
    try {
      execFileSync(command!, args, { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  };
  expect(passes()).toBe(false);
  execFileSync('touch', [file]);
  expect(passes()).toBe(true);
  const old = new Date(Date.now() - 20_000);
  utimesSync(file, old, old);
  expect(passes()).toBe(false);
});
