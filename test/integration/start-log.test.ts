import { expect, test } from 'vitest';
import { captureLog } from '../support/capture-log.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';

test('L10: a gateway that starts again says which CA, which bus and what listens, a line each, and nothing twice', async () => {
  const first = await startTestGateway();
  await first.gateway.stop();
  const { log, records } = captureLog();
  log.level = 'info';
  await using hub = await startTestGateway({ folder: first.folder, log });
  const { caSha256, https, admin } = hub.gateway.ready();
  const said = records()
    .filter(({ level }) => level === 'info')
    .map(({ level, time, ...rest }) => rest);
  expect(said).toEqual([
    expect.objectContaining({ msg: 'certificates are ready', ca: caSha256, store: first.folder }),
    { msg: 'messages stay in this gateway', bus: 'local' },
    expect.objectContaining({ msg: 'gateway is ready', https, admin, replica: expect.any(String) }),
  ]);
  const values = said.flatMap((line) => Object.values(line)).filter((value) => typeof value === 'string');
  expect(values).toEqual([...new Set(values)]);
  await first.stop();
});
