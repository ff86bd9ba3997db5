import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readAudit } from '../../src/audit/read-audit.ts';
import { adminFiles } from '../../src/certs/ca/admin-certificate.ts';
import { AdminClient } from '../../src/cli/admin/admin-client.ts';
import { type Dashboard, startDashboard } from '../../src/cli/dashboard/dashboard-proxy.ts';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { pageOf, visit } from '../support/browser.ts';
import { eventually } from '../support/eventually.ts';
import { sallyport } from '../support/fleets/process.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { barriers } from './accessibility.ts';
import { contentWidth } from './in-page.js';

/** The page of `sallyport dashboard` in Chromium, in front of a real gateway. */
let hub: TestGateway;
let dashboard: Dashboard;
let folder: string;
let client: EdgeClient;

beforeAll(async () => {
  folder = temporaryFolder();
  hub = await startTestGateway({ settings: { 'hub.replica': 'hub-0', 'audit.path': folder } });
  client = await joinEdge('edge-1');
  dashboard = await startDashboard({ client: hub.admin });
});
afterAll(async () => {
  await dashboard?.[Symbol.asyncDispose]();
  await client?.close();
  await hub?.[Symbol.asyncDispose]();
});

const joinEdge = async (node: string) => {
  const joined = await EdgeClient.join({ ...hub.edgeOptions(node), token: await hub.nodeToken(node) });
  await joined.connect();
  return joined;
};
const open = async (options: Parameters<typeof visit>[0] = {}) => {
  const visitor = await visit(options);
  await visitor.page.goto(dashboard.url);
  await visitor.page.getByText('Live', { exact: true }).waitFor();
  await visitor.page.getByRole('rowheader', { name: 'edge-1', exact: true }).waitFor();
  return visitor;
};
/** Fills in the dialog and confirms. */
async function confirm(page: Page, verb: string, reason: string): Promise<void> {
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Why, for the audit').fill(reason);
  await dialog.getByRole('button', { name: verb, exact: true }).click();
}
const asked = () =>
  readAudit(folder, { action: 'admin-asked' }).map(
    ({ what, why }) => `${what!.replace('POST /api/v1/', '')}: ${why}`,
  );

const listed = async () =>
  ((await hub.admin.get('/api/v1/revocations')) as { items: readonly object[] }).items;

describe('the dashboard', () => {
  test('P3: loads without an error; the token leaves the address, and survives a reload', async () => {
    await using visitor = await open();
    const { page } = visitor;
    expect(page.url()).not.toContain('token');
    await page.reload();
    await page.getByRole('rowheader', { name: 'edge-1', exact: true }).waitFor();
    expect(visitor.complaints).toEqual([]);
    expect(visitor.requests.filter((url) => /token=/.test(new URL(url).search))).toEqual([]);
  });

  test('P3: without the token nothing is read, and nothing can be changed', async () => {
    await using visitor = await visit();
    await visitor.page.goto(dashboard.url.split('#')[0]!);
    await visitor.page.getByText('Could not be read').first().waitFor();
    expect(await visitor.page.getByRole('button', { name: 'Rotate the hub certificate' }).count()).toBe(0);
  });

  test('P4: a viewer sees everything, is told to be one, and has no button that changes something', async () => {
    const out = join(folder, 'eve');
    const store = `secretStore.path=${hub.folder}`;
    expect((await sallyport(['certs', 'issue', 'viewer', 'eve', '--out', out, '--set', store])).code).toBe(0);
    const eve = new AdminClient({
      address: `localhost:${hub.port('admin')}`,
      ...adminFiles(out, 'eve'),
    });
    await using page = await startDashboard({ client: eve });
    await using visitor = await visit();
    await visitor.page.goto(page.url);
    await visitor.page.getByText('You are a viewer: this page only reads.').waitFor();
    await visitor.page.getByRole('button', { name: 'edge-1', exact: true }).click();
    const dialog = visitor.page.getByRole('dialog', { name: 'edge-1' });
    await dialog.getByText('certificate.serial', { exact: true }).waitFor();
    expect(await dialog.getByRole('button').allTextContents()).not.toContain('Disconnect');
    await dialog.getByRole('button', { name: 'Close' }).click();
    expect(await visitor.page.locator('button.act').count()).toBe(0);
    expect(await visitor.page.getByRole('combobox', { name: 'Direction' }).count()).toBe(0);
    await visitor.page.getByRole('button', { name: 'Follow', exact: true }).click();
    await visitor.page.getByText('Following.').waitFor();
    expect(visitor.complaints).toEqual([]);
  });

  test('P3: a page that the browser opens with the admin certificate only reads, and the gateway refuses its changes', async () => {
    await using visitor = await visit({ as: hub });
    const { page } = visitor;
    await page.goto(pageOf(hub));
    await page.getByRole('rowheader', { name: 'edge-1', exact: true }).waitFor();
    expect(await page.getByRole('button', { name: 'Rotate the hub certificate' }).count()).toBe(0);
    const status = await page.evaluate(
      "fetch('/api/v1/certificates/hub/rotate', { method: 'POST' }).then((a) => a.status)",
    );
    expect(status).toBe(403);
  });

  test('shows everything that is known of a node, by keyboard too', async () => {
    await using visitor = await open();
    const { page } = visitor;
    await page.getByRole('button', { name: 'edge-1', exact: true }).focus();
    await page.keyboard.press('Enter');
    const dialog = page.getByRole('dialog', { name: 'edge-1' });
    await dialog.getByText('certificate.serial', { exact: true }).waitFor();
    const info = (await hub.admin.get('/api/v1/nodes/edge-1')) as Record<string, unknown>;
    const names = Object.entries(info).flatMap(([name, value]) =>
      typeof value === 'object' ? Object.keys(value!).map((inner) => `${name}.${inner}`) : [name],
    );
    for (const name of names) await dialog.getByText(name, { exact: true }).waitFor();
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'hidden' });
    expect(await page.evaluate('document.activeElement.textContent')).toBe('edge-1');
  });
});

describe('P3: what is done with a confirmation and a reason, and is in the audit', () => {
  test('nothing is done without a reason, nor when one changes one’s mind', async () => {
    await using visitor = await open();
    const { page } = visitor;
    const before = asked().length;
    await page.getByRole('button', { name: 'Rotate the hub certificate' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Rotate', exact: true }).click();
    expect(await dialog.isVisible()).toBe(true);
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await dialog.waitFor({ state: 'hidden' });
    expect(asked()).toHaveLength(before);
  });

  test('disconnect, and the node returns', async () => {
    await using visitor = await open();
    const { page } = visitor;
    await page.getByRole('button', { name: 'edge-1', exact: true }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Disconnect' }).click();
    await confirm(page, 'Disconnect', 'stuck, says Zoë');
    await page.getByRole('status').filter({ hasText: 'edge-1 is disconnected.' }).waitFor();
    expect(asked()).toContain('nodes/edge-1/disconnect: stuck, says Zoë');
    await eventually('the node is back', () => client.connected);
  });

  test('quarantine, and lift', async () => {
    await using visitor = await open();
    const { page } = visitor;
    const edge = await joinEdge('edge-3');
    await page.getByRole('button', { name: 'edge-3', exact: true }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Quarantine' }).click();
    await confirm(page, 'Quarantine', 'odd traffic');
    await page.getByRole('button', { name: 'Let edge-3 in again' }).click();
    expect(await listed()).toMatchObject([
      { node: 'edge-3', reason: 'certificateHold', note: 'odd traffic' },
    ]);
    await confirm(page, 'Let in', 'it was a test');
    await page.getByRole('button', { name: 'Let edge-3 in again' }).waitFor({ state: 'detached' });
    expect(await listed()).toEqual([]);
    expect(asked()).toEqual(
      expect.arrayContaining(['revocations/quarantine: odd traffic', 'revocations/lift: it was a test']),
    );
    await edge.close();
  });

  test('revoke, with a reason for the list', async () => {
    await using visitor = await open();
    const { page } = visitor;
    const edge = await joinEdge('edge-4');
    await page.getByRole('button', { name: 'edge-4', exact: true }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
    await page.getByRole('dialog').getByLabel('Reason for the list').selectOption('keyCompromise');
    await confirm(page, 'Revoke', 'stolen');
    await page.getByRole('button', { name: 'Let edge-4 in again' }).waitFor();
    expect(await listed()).toMatchObject([{ node: 'edge-4', reason: 'keyCompromise', note: 'stolen' }]);
    expect(asked()).toContain('revocations: keyCompromise: stolen');
    await edge.close();
  });

  test('create a token, which is shown once and works', async () => {
    await using visitor = await open();
    const { page } = visitor;
    await page.getByRole('button', { name: 'Create a join token' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Name of the node').fill('edge-2');
    await confirm(page, 'Create', 'new hardware');
    const token = (await dialog.locator('code').textContent())!;
    await dialog.getByRole('button', { name: 'Close' }).click();
    const joined = await EdgeClient.join({ ...hub.edgeOptions('edge-2'), token });
    await joined.close();
    expect(await page.content()).not.toContain(token);
    expect(asked()).toContain('tokens: new hardware');
  });

  test('rotate the hub certificate, and nobody is cut off', async () => {
    await using visitor = await open();
    const { page } = visitor;
    const wanted = async () =>
      ((await hub.admin.get('/api/v1/certificates')) as { wantedFingerprint: string }).wantedFingerprint;
    const before = await wanted();
    await page.getByRole('button', { name: 'Rotate the hub certificate' }).click();
    await confirm(page, 'Rotate', 'the key was seen');
    await page.getByRole('status').filter({ hasText: 'The hub certificate is rotated.' }).waitFor();
    expect(await wanted()).not.toBe(before);
    expect(client.connected).toBe(true);
  });

  test('a step of the rollover, one that is refused, and the way back', async () => {
    await using visitor = await open();
    const { page } = visitor;
    const step = async (name: string, verb: string) => {
      await page.getByRole('button', { name: `CA rollover: ${name}` }).click();
      await confirm(page, verb, `try ${name}`);
    };
    const serial = async () =>
      ((await hub.admin.get('/api/v1/nodes/edge-1')) as { certificate: { serial: string } }).certificate
        .serial;
    /** A step that is refused has the nodes asked to renew. */
    const renewed = async (before: string) =>
      eventually('edge-1 has renewed', async () => (await serial()) !== before);
    await step('prepare', 'Take the step');
    await step('activate', 'Take the step');
    const ofOldCa = await serial();
    await step('retire', 'Take the step');
    const dialog = page.getByRole('dialog');
    await dialog
      .getByRole('alert')
      .filter({ hasText: /blocked|retire/ })
      .waitFor();
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await renewed(ofOldCa);
    const ofNewCa = await serial();
    await step('abort', 'Take it back');
    await renewed(ofNewCa);
    await step('abort', 'Take it back');
    await page.getByText('No rollover is under way.').waitFor();
    expect(asked()).toEqual(
      expect.arrayContaining(['ca/rollover/prepare: try prepare', 'ca/rollover/abort: try abort']),
    );
  });
});

test.each(['light', 'dark'] as const)(
  'in the %s scheme the dialogs have names and contrast, and fit a phone',
  async (scheme) => {
    await using visitor = await open({ scheme, width: 360 });
    const { page } = visitor;
    for (const name of ['edge-1', 'Create a join token', 'Rotate the hub certificate']) {
      await page.getByRole('button', { name, exact: true }).click();
      await page.getByRole('dialog').waitFor();
      expect(await barriers(page), name).toEqual([]);
      expect(await page.evaluate(contentWidth), name).toBeLessThanOrEqual(360);
      await page.keyboard.press('Escape');
    }
  },
);
