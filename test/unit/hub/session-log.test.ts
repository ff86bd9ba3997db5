import { expect, test } from 'vitest';
import { SessionLog } from '../../../src/hub/session-log.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { capturedLog } from '../../support/captured-log.ts';

function setup() {
  const clock = new ManualClock();
  const log = capturedLog();
  const sessions = new SessionLog({ clock, log });
  let made = 0;
  const connect = (nodes: number, transport: 'websocket' | 'quic' = 'websocket') => {
    for (let index = 0; index < nodes; index++)
      sessions.connected({
        node: `edge-${++made}`,
        session: `s-${made}`,
        transport,
        remoteAddress: '192.0.2.1',
      });
  };
  /** Lines so far of a level, without those that were looked at before. */
  const said = (level: string) => {
    const lines = log.lines.filter((line) => line.level === level);
    if (level === 'info') log.lines.splice(0);
    return lines.map(({ message, fields }) => [message, fields.nodes ?? fields.node]);
  };
  return { clock, log, sessions, connect, said };
}

test('L10: up to ten nodes that connect within a second have a line each, and no other', async () => {
  const { clock, connect, said } = setup();
  connect(10);
  await clock.advance(1_000);
  connect(10);
  await clock.advance(5_000);
  expect(said('debug')).toEqual([]);
  expect(said('info')).toEqual(
    Array.from({ length: 20 }, (_, index) => ['node connected', `edge-${index + 1}`]),
  );
  expect(clock.pending).toBe(0);
});

test('L10: of many that connect at once there is one line a second, by transport; each has its own at debug', async () => {
  const { clock, log, connect, said } = setup();
  connect(400);
  connect(12, 'quic');
  await clock.advance(1_000);
  const summary = log.lines.at(-1)!;
  expect(summary).toEqual({
    level: 'info',
    message: 'nodes connected in the last second',
    fields: { nodes: 412, transports: { websocket: 400, quic: 12 } },
  });
  expect(said('debug')).toHaveLength(402);
  expect(said('info')).toHaveLength(10 + 1);

  // The crowd goes on: no single lines at its second's beginning, and none lost at its end.
  connect(300);
  await clock.advance(1_000);
  connect(3);
  await clock.advance(1_000);
  expect(said('info')).toEqual([
    ['nodes connected in the last second', 300],
    ['nodes connected in the last second', 3],
  ]);
  connect(1);
  expect(said('info')).toEqual([['node connected', 'edge-716']]);
  await clock.advance(1_000);
  expect(clock.pending).toBe(0);
});

test('L10: of many sessions that end at once there is one line a second, with the reasons', async () => {
  const { clock, log, sessions } = setup();
  for (let index = 0; index < 30; index++)
    sessions.disconnected({
      node: `edge-${index}`,
      session: `s-${index}`,
      transport: 'websocket',
      reason: index < 20 ? 'Gone' : 'Draining',
    });
  await clock.advance(1_000);
  expect(log.lines.at(-1)).toEqual({
    level: 'info',
    message: 'nodes disconnected in the last second',
    fields: { nodes: 30, transports: { websocket: 30 }, reasons: { Gone: 20, Draining: 10 } },
  });
});

test('L10: a stop says at once what the last second would have said, and says nothing later', async () => {
  const { clock, connect, sessions, said } = setup();
  connect(50);
  sessions.stop();
  expect(said('info').at(-1)).toEqual(['nodes connected in the last second', 50]);
  expect(clock.pending).toBe(0);
});
