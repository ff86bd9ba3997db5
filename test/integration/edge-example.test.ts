import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { MiniHub } from '../support/edges/mini-hub.ts';
import { eventuallyHolds } from '../support/eventually.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const RESOURCE = 'default/thermostat/living-room';

function start(hub: MiniHub, directory: string, token?: string): ChildProcess {
  const [host, port] = hub.address.split(':') as [string, string];
  return spawn(process.execPath, [
    'examples/edge-client/edge-client.ts',
    ...['--hub', host, '--https-port', port, '--websocket-port', port],
    ...['--directory', directory, '--period-ms', '20'],
    ...(token === undefined ? [] : ['--token', token]),
  ]);
}

test('the example joins, reports, obeys, refuses what is not for it, ends cleanly and starts again without a token', async () => {
  await using hub = await MiniHub.start();
  const directory = temporaryFolder();
  const first = start(hub, directory, hub.token);
  await eventuallyHolds(() => expect(hub.received.length).toBeGreaterThan(2));
  expect(hub.received[0]).toMatchObject({
    route: { resource: RESOURCE },
    content: { temperature: expect.any(Number) },
  });
  const answerTo = (id: string) =>
    hub.received.find((message) => message.header.parent_msg_id === id) ?? expect.fail('not answered yet');
  const set = hub.push(RESOURCE, { target: 30 });
  await eventuallyHolds(() => expect(answerTo(set.header.msg_id).content).toBe('OK'));
  const asked = hub.push(RESOURCE, null, 'get');
  await eventuallyHolds(() => expect(answerTo(asked.header.msg_id).content).toEqual({ target: 30 }));
  const wrong = hub.push('default/door/front', {});
  await eventuallyHolds(() => expect(answerTo(wrong.header.msg_id).route.operation).toBe('error'));
  first.kill('SIGTERM');
  expect(await once(first, 'exit')).toEqual([0, null]);

  const second = start(hub, directory);
  await eventuallyHolds(() => expect(hub.sessions).toHaveLength(2));
  second.kill('SIGTERM');
  expect(await once(second, 'exit')).toEqual([0, null]);
  expect(hub.enrolments).toHaveLength(1);
});
