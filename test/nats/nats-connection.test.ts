import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { configSchema } from '../../src/config/schema.ts';
import { systemClock } from '../../src/core/clock.ts';
import { silentLogger } from '../../src/core/log.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import { NatsConnection } from '../../src/nats/nats-connection.ts';
import { eventuallyHolds } from '../support/eventually.ts';
import { startNatsServer } from '../support/fleets/nats-server.ts';

function connectionTo(servers: string[], extra: object = {}) {
  const { nats } = configSchema.parse({ bus: { nats: { servers, ...extra } } }).bus;
  const metrics = createMetrics({ process: false });
  return new NatsConnection(
    { clock: systemClock, log: silentLogger, metrics },
    { ...nats, replica: 'replica-1' },
  );
}

test('starts without NATS, says what is missing, and connects, again and again, without a hand', async () => {
  await using server = await startNatsServer();
  await server.kill();
  await using connection = connectionTo([server.url]);
  const ups: boolean[] = [];
  let downs = 0;
  connection.onUp((_, fresh) => ups.push(fresh));
  connection.onDown(() => downs++);
  await connection.start();
  await eventuallyHolds(() => expect(connection.problem()).toMatch(/refused/));
  expect(() => connection.current()).toThrow(expect.objectContaining({ code: 'BUS_UNAVAILABLE' }));
  await server.start();
  await eventuallyHolds(() => expect(connection.problem()).toBeUndefined());
  await server.kill();
  await eventuallyHolds(() => expect(connection.problem()).toBeDefined());
  await server.start();
  await eventuallyHolds(() => expect(connection.problem()).toBeUndefined());
  expect(ups).toEqual([true, false]);
  expect(downs).toBe(1);
  await connection.stop();
  expect(connection.problem()).toMatch(/stopped/);
});

test('takes a token from a file, reads it again when it was rotated, and tells it to nobody', async () => {
  await using server = await startNatsServer({ config: 'authorization { token: "right-secret" }' });
  const tokenFile = join(server.folder, 'token');
  await writeFile(tokenFile, 'wrong-secret\n');
  await using connection = connectionTo([server.url], { tokenFile });
  await connection.start();
  await eventuallyHolds(() => expect(connection.problem()).toMatch(/uthorization/));
  expect(connection.problem()).not.toMatch(/secret/);
  await writeFile(tokenFile, 'right-secret\n');
  await eventuallyHolds(() => expect(connection.problem()).toBeUndefined());
});

test('names the credentials it cannot read, and refuses credentials within addresses', () => {
  expect(() => connectionTo(['nats://localhost'], { credsFile: '/nowhere/nats.creds' })).toThrow(
    expect.objectContaining({
      code: 'BUS_CREDENTIALS_UNREADABLE',
      details: { setting: 'bus.nats.credsFile' },
    }),
  );
  expect(() => connectionTo(['nats://me:secret@localhost'])).toThrow(
    'credentials have settings of their own',
  );
});
