import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { banner } from '../../src/cli/banner.ts';
import { processTerminal } from '../../src/cli/terminal.ts';
import type { GatewayInfo } from '../../src/contracts/gateway-info.ts';
import { goGet } from '../support/edges/edgecore.ts';
import { launchGateway, sallyport } from '../support/fleets/process.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

/** The library is not installed, as after `npm install sallyport` alone. */
const PRELOAD = `
import { registerHooks } from 'node:module';
registerHooks({
  resolve(specifier, context, next) {
    if (specifier !== '@currentspace/http3') return next(specifier, context);
    throw Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' });
  },
});`;
const ABSENT = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(PRELOAD)}` };
const COMMAND = 'npm install @currentspace/http3';

let base: string;
let folder: string;
beforeEach(() => {
  base = temporaryFolder();
  folder = join(base, 'secrets');
});

test('Q5: true without the library ends the start with the npm command, before anything is written', async () => {
  await using launched = launchGateway(folder, { 'quic.enabled': 'true' }, ABSENT);
  await expect(launched.whenReady).rejects.toThrow(COMMAND);
  expect(existsSync(folder) ? readdirSync(folder) : []).toEqual([]);
});

test('Q5: auto without the library is ready; log, readiness, banner and doctor say in one line how to get it', async () => {
  await using launched = launchGateway(folder, { 'quic.enabled': 'auto' }, ABSENT);
  const { ready } = await launched.whenReady;
  const lines = launched.log().split('\n');
  expect(lines.filter((line) => line.includes(COMMAND))).toHaveLength(1);
  const port = (address: string) => Number(address.split(':').at(-1));
  const { body } = await goGet(port(ready.https), '/readyz?verbose');
  expect(body.toString()).toMatch(new RegExp(`listeners ok.*${COMMAND}`));

  const settings = {
    'secretStore.path': folder,
    'admin.port': String(port(ready.admin)),
    'https.port': String(port(ready.https)),
    'websocket.port': String(port(ready.websocket)),
  };
  const set = Object.entries(settings).flatMap(([path, value]) => ['--set', `${path}=${value}`]);
  const { stdout } = await sallyport(['doctor', ...set]);
  expect(stdout.split('\n').filter((line) => line.includes(`quic is off`))).toEqual([
    expect.stringContaining(COMMAND),
  ]);
  const quicOff = /quic is off.*/.exec(body.toString())![0];
  const info = () => ({ listeners: [], quicOff }) as unknown as GatewayInfo;
  const told = banner(processTerminal(), { ready: () => ready as never, info }, {});
  expect(told.split('\n').filter((line) => line.includes(COMMAND))).toHaveLength(1);
});
