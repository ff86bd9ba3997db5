import { expect, test } from 'vitest';
import { servedCertificate } from '../support/edges/serving.ts';
import { eventually } from '../support/eventually.ts';
import { Fleet } from '../support/fleets/fleet.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';

const ROTATIONS = Number(process.env.STORY_ROTATIONS ?? 1_000);
const EDGES = 200;
/** Of these, over the other transports. */
const QUIC_EDGES = 20;
const WEBTRANSPORT_EDGES = 10;

test(`B5: the hub certificate is replaced ${ROTATIONS} times under ${EDGES} edges and traffic: nothing drops, no handshake fails, nothing is lost`, async () => {
  await using hub = await startTestGateway({
    settings: {
      'quic.enabled': 'true',
      'webtransport.enabled': 'true',
      'limits.enrolmentsPerMinutePerIp': '100000',
      'limits.enrolmentsPerMinute': '100000',
    },
  });
  await using fleet = new Fleet(hub);
  await fleet.join(EDGES - QUIC_EDGES - WEBTRANSPORT_EDGES);
  await fleet.join(QUIC_EDGES, 'quic');
  await fleet.join(WEBTRANSPORT_EDGES, 'webtransport');
  const ports = (['https', 'websocket', 'webtransport', 'admin'] as const).map((name) => hub.port(name));
  const serials = new Set<string>();
  let failedHandshakes = 0;
  for (let rotation = 0; rotation < ROTATIONS; rotation++) {
    await hub.admin.post('/api/v1/certificates/hub/rotate');
    const port = ports[rotation % ports.length]!;
    const handshake = servedCertificate(port).then(
      ({ serialNumber }) => serials.add(serialNumber),
      () => failedHandshakes++,
    );
    await Promise.all([handshake, rotation % 10 === 0 ? fleet.exchange(10, rotation / 10) : undefined]);
  }
  await eventually(
    'every listener serves the last certificate',
    async () =>
      new Set(
        (await Promise.all(ports.map((port) => servedCertificate(port)))).map(
          ({ serialNumber }) => serialNumber,
        ),
      ).size === 1,
  );
  const report = await fleet.report();
  console.log(
    `rotations ${ROTATIONS}, certificates seen ${serials.size}, failed handshakes ${failedHandshakes},`,
    report,
  );
  expect(failedHandshakes).toBe(0);
  expect(serials.size).toBeGreaterThan(ROTATIONS * 0.9);
  expect(report).toEqual({
    // At each tenth rotation a tenth of the edges says something, and is told something.
    sentUp: ROTATIONS * 2,
    sentDown: ROTATIONS * 2,
    dropped: 0,
    rebalanced: 0,
    lostUp: 0,
    lostDown: 0,
    doubledDown: 0,
  });
}, 3_600_000);
