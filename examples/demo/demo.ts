/**
 * Sallyport in about 20 seconds: a gateway on free ports, five edges, messages both ways, and, while traffic
 * flows, two rotations of the hub certificate and two added addresses. Ends with a table; exits non-zero when
 * any figure is off.
 */
import { writeFileSync } from 'node:fs';
import { formatTable, paint } from '../../src/cli/output.ts';
import { servedCertificate } from '../../test/support/edges/serving.ts';
import { eventually } from '../../test/support/eventually.ts';
import { Fleet } from '../../test/support/fleets/fleet.ts';
import { startTestGateway } from '../../test/support/fleets/test-gateway.ts';

const EDGES = { websocket: 2, quic: 2, webtransport: 1 } as const;
const SECONDS = 12;
const { bold, dim, green, red } = paint(process.stdout);
const say = (text: string) => console.log(`${dim(new Date().toISOString().slice(11, 19))} ${text}`);

await using hub = await startTestGateway({
  settings: { 'quic.enabled': 'true', 'webtransport.enabled': 'true' },
});
const { https, websocket, quic, webtransport, caSha256 } = hub.gateway.ready();
say(
  `gateway is up: https ${https}, websocket ${websocket}, quic ${quic}, webtransport ${webtransport}, CA ${caSha256.slice(0, 16)}…`,
);

await using fleet = new Fleet(hub);
for (const [transport, count] of Object.entries(EDGES))
  await fleet.join(count, transport as keyof typeof EDGES);
const transports = Object.entries(EDGES).map(([transport, count]) => `${count} over ${transport}`);
say(`${fleet.size} edges joined with a token each and connected over mutual TLS: ${transports.join(', ')}`);

/** Over TCP, where a handshake shows the certificate; QUIC's edges live through the same swaps. */
const listeners = ['https', 'websocket', 'webtransport', 'admin'] as const;
const served = async () =>
  Object.fromEntries(
    await Promise.all(
      listeners.map(
        async (name) =>
          [
            name,
            (await servedCertificate(hub.port(name))).fingerprint256
              .replaceAll(':', '')
              .slice(0, 16)
              .toLowerCase(),
          ] as const,
      ),
    ),
  );
const before = await served();

const changes: [atSeconds: number, what: string, change: () => Promise<void>][] = [
  [2, 'rotating the hub certificate', () => hub.admin.post('/api/v1/certificates/hub/rotate')],
  [4, 'adding the address hub.example.com', () => addAddress('hub.example.com')],
  [6, 'rotating the hub certificate again', () => hub.admin.post('/api/v1/certificates/hub/rotate')],
  [8, 'adding the address 192.0.2.10', () => addAddress('192.0.2.10')],
];
const addresses = ['localhost', '127.0.0.1', '::1'];
async function addAddress(address: string): Promise<void> {
  addresses.push(address);
  writeFileSync(
    hub.file,
    `advertise:\n  addresses: [${addresses.map((one) => JSON.stringify(one)).join(', ')}]\n`,
  );
  hub.config.reload();
  await eventually(`${address} is served`, async () =>
    ((await servedCertificate(hub.port('websocket'))).subjectAltName ?? '').includes(address),
  );
}

const start = Date.now();
let seen = 1;
let last = JSON.stringify(before);
while (Date.now() - start < SECONDS * 1000) {
  await fleet.exchange();
  const due = changes[0];
  if (due && Date.now() - start >= due[0] * 1000) {
    changes.shift();
    say(due[1]);
    await due[2]();
    const now = JSON.stringify(await served());
    if (now !== last) seen++;
    last = now;
  }
  await new Promise((resolve) => setTimeout(resolve, 50));
}
const after = await served();
const report = await fleet.report();

console.log(
  `\n${formatTable(
    listeners.map((name) => ({ name, before: before[name], after: after[name] })),
    [
      ['LISTENER', (row) => row.name],
      ['SERVED BEFORE', (row) => row.before],
      ['SERVED AFTER', (row) => row.after],
    ],
  )}\n`,
);
const figures: [string, number, number?][] = [
  ['edges connected', fleet.size, 5],
  ['certificates served in turn', seen, 5],
  ['messages up, acknowledged', report.sentUp],
  ['messages down, acknowledged', report.sentDown],
  ['connections dropped', report.dropped, 0],
  ['connections asked to move', report.rebalanced, 0],
  ['messages lost up', report.lostUp, 0],
  ['messages lost down', report.lostDown, 0],
  ['messages doubled down', report.doubledDown, 0],
];
const wrong = figures.filter(([, value, wanted]) => (wanted === undefined ? value === 0 : value !== wanted));
console.log(
  formatTable(figures, [
    ['WHAT HAPPENED', ([what]) => what],
    ['COUNT', ([, value]) => value],
    ['', ([what]) => (wrong.some(([one]) => one === what) ? red('off') : green('ok'))],
  ]),
);
console.log(wrong.length === 0 ? bold(green('\nall as it should be')) : bold(red('\nsomething is off')));
process.exitCode = wrong.length === 0 ? 0 : 1;
