/**
 * `npm run screenshot`: a gateway with a small fleet, and its page as README and docs/operations.md show it
 * (docs/images). With a folder as argument it writes every width and scheme there instead. Needs Chromium.
 */
import { mkdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { startDashboard } from '../src/cli/dashboard/dashboard-proxy.ts';
import { EdgeClient } from '../src/sdk/edge-client.ts';
import { knock, visit } from '../test/support/browser.ts';
import { startTestGateway } from '../test/support/fleets/test-gateway.ts';
import { mintCa, mintEdge } from '../test/support/pki/pki.ts';

const [folder] = process.argv.slice(2);
const IMAGES = 'docs/images';
const MAX_BYTES = 300 * 1024;
/** What README shows: down to the nodes. */
const HEIGHT = 1_500;
/** `part`: of the page, by the id of its heading. */
const shots: { file: string; width: number; scheme: 'light' | 'dark'; part?: string }[] = folder
  ? [
      { file: join(folder, 'light.png'), width: 1280, scheme: 'light' },
      { file: join(folder, 'dark.png'), width: 1280, scheme: 'dark' },
      { file: join(folder, 'phone.png'), width: 360, scheme: 'light' },
    ]
  : [
      { file: join(IMAGES, 'status-page.png'), width: 1160, scheme: 'light' },
      { file: join(IMAGES, 'messages.png'), width: 1160, scheme: 'light', part: 'messages' },
    ];

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
await using dashboard = await startDashboard({ client: hub.admin });
for (const { file, width, scheme, part } of shots) {
  await using visitor = await visit({ width, height: HEIGHT, scheme });
  const { page } = visitor;
  await page.goto(dashboard.url);
  await page.getByText('Live', { exact: true }).waitFor();
  await page.locator('section[aria-labelledby="checks"] li').first().waitFor();
  await page.getByRole('rowheader', { name: 'berlin-01' }).waitFor();
  await page.getByRole('combobox', { name: 'Direction' }).waitFor();
  await page.getByRole('button', { name: 'Follow', exact: true }).click();
  await page.getByText('Following.').waitFor();
  for (const [index, client] of clients
    .filter(({ connected }) => connected)
    .slice(0, 8)
    .entries())
    await client.send(
      index % 3 === 2
        ? { resource: `default/podstatus/gauge-${index}`, operation: 'update', content: { phase: 'Running' } }
        : { resource: 'app/temperature', operation: 'insert', content: { celsius: 18 + index / 2 } },
    );
  for (const node of names.slice(0, 2))
    await hub.admin.post(`/api/v1/nodes/${node}/messages`, {
      ...{ group: 'user', resource: 'app/target', operation: 'update', content: { celsius: 21 } },
    });
  await page.getByText('10 rows', { exact: true }).waitFor();
  mkdirSync(dirname(file), { recursive: true });
  if (part) await page.locator(`section[aria-labelledby="${part}"]`).screenshot({ path: file });
  else {
    await page.evaluate('scrollTo(0, 0)');
    await page.screenshot({ path: file, fullPage: folder !== undefined });
  }
  const { size } = statSync(file);
  process.stdout.write(`${file}  ${Math.round(size / 1024)} KiB  ${visitor.complaints.join('; ')}\n`);
  if (!folder && size > MAX_BYTES) throw new Error(`${file} is larger than 300 KiB`);
}
for (const client of clients) await client.close();
