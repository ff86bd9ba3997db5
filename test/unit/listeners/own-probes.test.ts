import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { expect, test } from 'vitest';
import type { Probe } from '../../../src/contracts/handshake.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { OwnProbes } from '../../../src/listeners/own-probes.ts';
import { RefusalReporter } from '../../../src/listeners/refusals.ts';
import { clientOptions, readAll } from '../../support/edges/tls-client.ts';
import { ca } from '../../support/pki/hub-and-edge.ts';
import { start, useTlsServers } from './tls-fixture.ts';

useTlsServers();

type Server = Awaited<ReturnType<typeof start>>;
type Visit = (probe: Probe) => Promise<unknown>;

/** A visit as the gateway's own, or as a stranger's. */
const VISITORS = {
  own: ({ server, port }: Server, visit: Visit) => server.probe({ host: '127.0.0.1', port }, visit),
  stranger: ({ port }: Server, visit: Visit) => visit({ host: '127.0.0.1', port }),
};

/** Tells where it is bound, as each probe does. */
async function bound(socket: Socket, { onBound }: Probe): Promise<void> {
  socket.on('error', () => {});
  await once(socket, 'connect');
  onBound?.({ host: socket.localAddress!, port: socket.localPort! });
}

async function traces({ metrics, rejections, log }: Server) {
  const counted = (await metrics.expose()).match(/^sallyport_handshake_failures_total\S* [1-9].*$/gm) ?? [];
  return [counted.length, rejections.list().length, log.lines.length];
}

test('L5: a refusal that is told after the probe has gone is no refusal of anybody; that of a stranger is', async () => {
  const held: Socket[] = [];
  const onRequest: RequestListener = ({ socket }) => held.push(socket);
  const rig = await start({}, { onRequest });
  const { log, metrics, rejections } = rig;
  const leave: Visit = async (probe) => {
    const socket = connectTls(clientOptions(probe.port, ca));
    await bound(socket, probe);
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(rig.server.server, 'request');
    socket.destroy();
    await once(held.at(-1)!, 'close');
  };
  const late = new RefusalReporter({ clock: systemClock, log, metrics, rejections }, 'https');
  const refuse = () =>
    late.report({ ok: false, reason: 'unknown-ca', detail: 'no' }, rig.server.remoteAddress(held.at(-1)!));
  await VISITORS.own(rig, leave);
  refuse();
  expect(await traces(rig)).toEqual([0, 0, 0]);
  await VISITORS.stranger(rig, leave);
  refuse();
  expect(await traces(rig)).toEqual([1, 1, 1]);
});

test.each([
  { what: 'that is no handshake', proxyProtocolFrom: [] },
  { what: 'without the header of a balancer', proxyProtocolFrom: ['127.0.0.1'] },
])('L5: a probe $what leaves no trace; a stranger does', async ({ proxyProtocolFrom }) => {
  const rig = await start({ proxyProtocolFrom });
  const babble: Visit = async (probe) => {
    const socket = connect(probe.port, probe.host);
    await bound(socket, probe);
    socket.write('hello\r\n\r\n');
    await readAll(socket);
  };
  await VISITORS.own(rig, babble);
  expect(await traces(rig)).toEqual([0, 0, 0]);
  await VISITORS.stranger(rig, babble);
  expect(await traces(rig)).toEqual([1, 1, 1]);
});

test('L5: only the two ends of a probe make it one, and only while it is under way', async () => {
  const probes = new OwnProbes();
  const ends = { remoteAddress: '::ffff:127.0.0.1', remotePort: 40_000, localPort: 10_000 };
  const own = { host: '127.0.0.1', port: 40_000 };
  const probe: Probe = { host: '127.0.0.1', port: 10_000 };
  let onBound: Probe['onBound'];
  await probes.during(probe, async (told) => {
    onBound = told.onBound;
    expect(probes.has(ends)).toBe(false);
    onBound!(own);
    expect(probes.has(ends)).toBe(true);
    expect(probes.has({ ...ends, remoteAddress: '192.0.2.1' })).toBe(false);
    expect(probes.has({ ...ends, remotePort: 40_001 })).toBe(false);
    expect(probes.has({ ...ends, localPort: 10_001 })).toBe(false);
  });
  expect(probes.has(ends)).toBe(false);
  onBound!(own);
  expect(probes.has(ends)).toBe(false);
});
