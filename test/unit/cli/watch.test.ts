import { writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { eventually } from '../../support/eventually.ts';
import { sallyport } from '../../support/fleets/process.ts';
import { mintCa, mintServer, type Pair } from '../../support/pki/pki.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { mintAdmin } from '../admin/admin-fixture.ts';

let folder: string;
let server: Pair;
beforeAll(async () => {
  folder = temporaryFolder();
  const ca = await mintCa();
  const admin = await mintAdmin(ca);
  server = await mintServer(ca);
  for (const [name, pem] of Object.entries({
    'ca.crt': ca.pem,
    'admin.crt': admin.pem,
    'admin.key': admin.key,
  }))
    writeFileSync(join(folder, name), pem);
});

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** Runs `watch` on a gateway that answers one request after another in these ways. */
async function watch(
  answers: readonly Answer[],
  { args = [], onPrinted }: { args?: readonly string[]; onPrinted?: (line: string) => void } = {},
) {
  let asked = 0;
  const hub = createServer({ cert: server.pem, key: server.key }, (request, response) =>
    answers[asked++]!(request, response),
  ).listen(0, '127.0.0.1');
  await new Promise((resolve) => hub.once('listening', resolve));
  const address = `127.0.0.1:${(hub.address() as AddressInfo).port}`;
  const stop = new AbortController();
  const finished = sallyport(['watch', '--admin', address, '--set', `secretStore.path=${folder}`, ...args], {
    interrupted: stop.signal,
    ...(onPrinted ? { onPrinted } : {}),
  });
  return { finished, stop: () => stop.abort(), [Symbol.asyncDispose]: async () => void hub.close() };
}
const stream = (response: ServerResponse) => response.writeHead(200, { 'content-type': 'text/event-stream' });
const connected = (id: number) =>
  `id: ${id}\nevent: connected\ndata: {"type":"connected","node":"edge-${id}","transport":"quic"}\n\n`;

test('L9: watch goes on after the last event when the stream is interrupted, and says what was missed', async () => {
  const lastIds: unknown[] = [];
  const ended = Promise.withResolvers<void>();
  await using it = await watch([
    (_, response) => void stream(response).end(`${connected(5)}: alive\nid: 7\n\n`),
    ({ headers }, response) => {
      lastIds.push(headers['last-event-id']);
      stream(response).end(`event: missed\ndata: {"type":"missed","count":12}\n\n${connected(20)}`);
    },
    ({ socket }) => void socket.destroy(),
    ({ headers }, response) => {
      lastIds.push(headers['last-event-id']);
      stream(response).write('event: missed\ndata: {"type":"missed"}\n\n', () => ended.resolve());
    },
  ]);
  await ended.promise;
  it.stop();
  const { code, stdout, stderr } = await it.finished;
  expect(lastIds).toEqual(['7', '20']);
  expect(stdout.replaceAll(/^\S+ /gm, '').split('\n').slice(0, 3)).toEqual([
    'edge-5 connected over quic',
    'events missed: 12, of any node and kind; the gateway keeps them no more',
    'edge-20 connected over quic',
  ]);
  expect([code, stderr]).toEqual([0, 'the stream was interrupted; it is followed again\n'.repeat(2)]);
});

test('P6: watch asks for what nodes send unless told otherwise, and tells what was sent to one from what it sent', async () => {
  const asked: unknown[] = [];
  const said = (direction: string) =>
    `event: message\ndata: ${JSON.stringify({
      type: 'message',
      direction,
      node: 'edge-1',
      message: { route: { operation: 'update', resource: 'app/x' }, content: 1 },
    })}\n\n`;
  const answer: Answer = ({ url }, response) => {
    asked.push(url);
    stream(response).write(
      `${said('upstream')}${said('downstream')}event: missed\ndata: {"type":"missed","direction":"downstream"}\n\n`,
    );
  };
  for (const args of [[], ['--direction', 'downstream'], ['--direction', 'both']]) {
    const lines: string[] = [];
    await using it = await watch([answer], { args, onPrinted: (line) => lines.push(line.trim()) });
    await eventually('three lines', () => lines.length === 3);
    it.stop();
    await it.finished;
    expect(lines.map((line) => line.replace(/^\S+ /, ''))).toEqual([
      'edge-1 update app/x 1',
      'to edge-1 update app/x 1',
      'what nodes were sent meanwhile was not kept',
    ]);
  }
  expect(asked).toEqual([
    '/api/v1/events?direction=upstream',
    '/api/v1/events?direction=downstream',
    '/api/v1/events?direction=upstream&direction=downstream',
  ]);
});

test('watch ends when it is refused, at once or later', async () => {
  const refuse: Answer = (_, response) =>
    response
      .writeHead(401, { 'content-type': 'application/json' })
      .end('{"error":{"code":"NOT_AUTHENTICATED","message":"who are you"}}');
  await using atOnce = await watch([refuse]);
  await using later = await watch([(_, response) => void stream(response).end(': following\n\n'), refuse]);
  for (const { finished } of [atOnce, later])
    expect(await finished).toMatchObject({ code: 1, stderr: expect.stringContaining('who are you') });
});

test('watch ends when the gateway cannot be reached from the start', async () => {
  await using it = await watch([(request) => request.socket.destroy()]);
  expect(await it.finished).toMatchObject({ code: 1, stderr: expect.stringContaining('ADMIN_UNREACHABLE') });
});
