import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { GatewayFleet } from '../support/fleets/gateway-fleet.ts';
import { startNatsServer } from '../support/fleets/nats-server.ts';

function start(args: readonly string[]): { child: ChildProcess; output: () => string } {
  const child = spawn(process.execPath, ['examples/cloud-app/cloud-app.ts', ...args]);
  let output = '';
  for (const stream of [child.stdout!, child.stderr!])
    stream.on('data', (chunk) => {
      output += chunk;
    });
  return { child, output: () => output };
}

test('the example of a cloud program sends and listens over NATS, and over HTTP at any replica', async () => {
  await using nats = await startNatsServer();
  await using fleet = await GatewayFleet.start({ gateways: { a: nats.url, b: nats.url } });
  const edge = await fleet.connect('rack.7', 'b', await fleet.credentials('rack.7', 'b'));
  const overNats = ['--nats', nats.url, '--prefix', fleet.prefix];
  const overHttp = ['--secrets', fleet.folder, '--admin', `localhost:${fleet.get('a').port('admin')}`];
  try {
    const listening = start(overNats);
    for (const way of [overNats, overHttp]) {
      const sending = start([...way, '--send', 'rack.7', '--content', '{"target":23}', '--once']);
      const before = edge.received.length;
      await eventually(`the edge has the message: ${way[0]}`, () => edge.received.length > before);
      const asked = edge.received[before]!;
      expect(asked).toMatchObject({
        route: { resource: 'default/thermostat/living-room' },
        content: { target: 23 },
      });
      edge.acknowledge(asked);
      await eventually(`it tells the outcome: ${way[0]}`, () =>
        sending.output().includes('rack.7: acknowledged'),
      );
      if (sending.child.exitCode === null) await once(sending.child, 'exit');
      expect(sending.child.exitCode).toBe(0);
    }
    await eventually('it hears the edge', () => {
      const route = {
        source: 'edged',
        group: 'resource',
        operation: 'update',
        resource: 'default/podstatus/p-1',
      };
      edge.send(route, { phase: 'Running' });
      return listening.output().includes('rack.7 update node/rack.7/default/podstatus/p-1');
    });
    listening.child.kill();
  } finally {
    edge.socket.terminate();
  }
});
