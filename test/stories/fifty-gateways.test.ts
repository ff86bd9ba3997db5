import { join } from 'node:path';
import { expect, test } from 'vitest';
import { LiveConfig } from '../../src/config/live-config.ts';
import { loadConfig } from '../../src/config/load.ts';
import { silentLogger } from '../../src/core/log.ts';
import { startGateway } from '../../src/gateway/start-gateway.ts';
import { captureLog } from '../support/capture-log.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const GATEWAYS = 50;
/** All kinds of listeners in a few; the others are light. */
const isWhole = (n: number) => n % 25 === 0;

/** Counts who listens to the configuration at this moment. */
class CountingConfig extends LiveConfig {
  followers = 0;

  override onChange(listener: Parameters<LiveConfig['onChange']>[0]) {
    const unsubscribe = super.onChange(listener);
    this.followers++;
    return () => {
      this.followers--;
      unsubscribe();
    };
  }
}

const resources = () => process.getActiveResourcesInfo().sort();

test('fifty gateways that started and stopped in one process leave nothing behind, and say nothing after they have stopped', async () => {
  const base = temporaryFolder();
  const configs = [true, false].map((whole) => {
    const flags = {
      'secretStore.path': join(base, 'secrets'),
      'limits.drainMs': '0',
      ...Object.fromEntries(
        ['https', 'websocket', 'quic', 'webtransport', 'admin'].flatMap((name) => [
          [`${name}.port`, '0'],
          [`${name}.host`, '127.0.0.1'],
          [`${name}.enabled`, String(whole || name === 'https')],
        ]),
      ),
    };
    return new CountingConfig({ log: silentLogger }, loadConfig({ flags }), { flags });
  });
  const [whole, light] = configs as [CountingConfig, CountingConfig];
  const logs: ReturnType<typeof captureLog>[] = [];
  const run = async (n: number) => {
    const config = isWhole(n) ? whole : light;
    const log = captureLog();
    logs.push(log);
    const gateway = await startGateway({ config, log: log.log });
    expect(config.followers).toBe(1);
    await gateway.stop();
    expect(config.followers).toBe(0);
  };
  // The first one loads libraries, whose threads and timers stay.
  await run(0);
  const before = resources();
  for (let n = 1; n <= GATEWAYS; n++) await run(n);
  await eventually('only what was there before is left', () => resources().length <= before.length);
  const last = logs.map(({ records }) => records().at(-1)!.msg);
  expect(new Set(last)).toEqual(new Set(['gateway has stopped']));
});
