/**
 * `npm run screenshot`: a gateway with a small fleet, and its status page as README shows it
 * (docs/images/status-page.png). With a folder as argument it writes every width and scheme there instead.
 * Needs Chromium.
 */
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { EdgeClient } from '../src/sdk/edge-client.ts';
import { knock, pageOf, visit } from '../test/support/browser.ts';
import { startTestGateway } from '../test/support/fleets/test-gateway.ts';
import { mintCa, mintEdge } from '../test/support/pki/pki.ts';

const [folder] = process.argv.slice(2);
const README = 'docs/images/status-page.png';
const MAX_BYTES = 300 * 1024;
/** What README shows: down to the nodes. */
const HEIGHT = 1_424;
const shots = folder
  ? [
      { file: join(folder, 'light.png'), width: 1280, scheme: 'light' },
      { file: join(folder, 'dark.png'), width: 1280, scheme: 'dark' },
      { file: join(folder, 'phone.png'), width: 360, scheme: 'light' },
    ]
  : [{ file: README, width: 1160, scheme: 'light' }];

await using hub = await startTestGateway({
  settings: { 'hub.replica': 'hub-0', 'quic.enabled': 'true', 'webtransport.enabled': 'true' },
});
const clients: EdgeClient[] = [];
const names = [
  'berlin-01',
  'berlin-02',
  'kyoto-01',
  'kyoto-02',
  'lagos-01',
  'lima-01',
  'oslo-01',
  'oslo-02',
  'quito-01',
  'riga-01',
];
for (const [index, node] of names.entries()) {
  const transport = index % 4 === 1 ? 'quic' : index % 5 === 2 ? 'webtransport' : 'websocket';
  const client = await EdgeClient.join({
    ...hub.edgeOptions(node, { transport }),
    token: await hub.nodeToken(node),
  });
  await client.connect();
  clients.push(client);
}
await hub.admin.post('/api/v1/revocations', {
  node: 'lima-01',
  reason: 'keyCompromise',
  note: 'stolen, case 4711',
});
await hub.admin.post('/api/v1/revocations/quarantine', { node: 'quito-02', note: 'odd traffic' });
// One that is not let in: of a CA nobody here knows.
await knock(hub, await mintEdge(await mintCa(), 'oslo-03'), 'oslo-03');
await knock(hub, await mintEdge(await mintCa(), 'oslo-03'), 'oslo-03');
for (const { file, width, scheme } of shots) {
  await using visitor = await visit({ as: hub, width, height: HEIGHT, scheme: scheme as 'light' | 'dark' });
  const { page } = visitor;
  await page.goto(pageOf(hub));
  await page.getByText('Live', { exact: true }).waitFor();
  await page.locator('#checks ~ ul, section[aria-labelledby="checks"] li').first().waitFor();
  await page.getByRole('rowheader', { name: 'berlin-01' }).waitFor();
  mkdirSync(join(file, '..'), { recursive: true });
  await page.screenshot({ path: file, fullPage: folder !== undefined });
  process.stdout.write(
    `${file}  ${Math.round(statSync(file).size / 1024)} KiB  ${visitor.complaints.join('; ')}\n`,
  );
}
for (const client of clients) await client.close();
if (!folder && statSync(README).size > MAX_BYTES) throw new Error(`${README} is larger than 300 KiB`);
