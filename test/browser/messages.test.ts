import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Dashboard, startDashboard } from '../../src/cli/dashboard/dashboard-proxy.ts';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { visit } from '../support/browser.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';
import { barriers } from './accessibility.ts';
import { contentWidth, focused, setHidden, strangers } from './in-page.js';

/** The live messages of the page in Chromium, through `sallyport dashboard`, of real edges. */
let hub: TestGateway;
let dashboard: Dashboard;
const edges: EdgeClient[] = [];

beforeAll(async () => {
  // So few are kept that a test can send more.
  hub = await startTestGateway({ settings: { 'hub.replica': 'hub-0', 'hub.queue.events': '20' } });
  for (const node of ['edge-1', 'edge-2']) {
    const edge = await EdgeClient.join({ ...hub.edgeOptions(node), token: await hub.nodeToken(node) });
    await edge.connect();
    edges.push(edge);
  }
  dashboard = await startDashboard({ client: hub.admin });
});
afterAll(async () => {
  await dashboard?.[Symbol.asyncDispose]();
  for (const edge of edges) await edge.close();
  await hub?.[Symbol.asyncDispose]();
});

const say = (edge: number, content: unknown, resource = 'app/hello', operation = 'update') =>
  edges[edge - 1]!.send({ resource, operation, content });
const open = async (options: Parameters<typeof visit>[0] = {}) => {
  const visitor = await visit(options);
  await visitor.page.goto(dashboard.url);
  await visitor.page.getByText('Live', { exact: true }).waitFor();
  await visitor.page.getByRole('rowheader', { name: 'edge-1', exact: true }).waitFor();
  const part = visitor.page.getByRole('region', { name: 'Messages', exact: true });
  // It is there as soon as the page knows that an operator looks at it.
  await part.getByRole('combobox', { name: 'Direction' }).waitFor();
  return { ...visitor, part };
};
const press = (page: Page, name: string) => page.getByRole('button', { name, exact: true }).click();
const follow = async (page: Page) => {
  await press(page, 'Follow');
  await page.getByText('Following.').waitFor();
};
/** A readiness that fails for a moment is no error of the page. */
const errorsOf = ({ complaints }: { readonly complaints: readonly string[] }) =>
  complaints.filter((text) => !text.startsWith('Failed to load resource'));
/** Streams of events that the gateway has open. */
const followers = async () => {
  const { text } = await hub.admin.text('/metrics');
  return Number(/^sallyport_upstream_subscribers (\d+)$/m.exec(text)![1]);
};

describe('P6: messages as they come', () => {
  test('are shown with who sent what, and their content on demand, by keyboard too', async () => {
    await using visitor = await open();
    const { page, part } = visitor;
    await follow(page);
    await say(1, { temperature: 21.5, serial: 42 });
    const row = part.getByRole('row').filter({ hasText: 'update node/edge-1/app/hello' });
    await row.getByText('edge-1', { exact: true }).waitFor();
    await row.getByRole('button', { name: 'Show update node/edge-1/app/hello of edge-1' }).focus();
    await page.keyboard.press('Enter');
    const dialog = page.getByRole('dialog');
    await dialog.getByText('"temperature": 21.5').waitFor();
    await dialog.getByText('sallyport watch --node edge-1 -o json').waitFor();
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'hidden' });
    expect((await page.evaluate(focused)).name).toContain('Show update');
    expect(errorsOf(visitor)).toEqual([]);
  });

  test('O4: what a node sends is text, never markup, and rules nothing on the page', async () => {
    await using visitor = await open();
    const { page, part } = visitor;
    await follow(page);
    const evil = '<img src=x onerror="document.title=1"><b id="evil">';
    await say(1, evil, `app/${evil}\u202e`, '<script>document.title=2</script>');
    const row = part.getByRole('row').filter({ hasText: evil });
    await row.getByText('\\u202e').waitFor();
    await row.getByRole('button').click();
    await page.getByRole('dialog').getByText('onerror').first().waitFor();
    expect(await page.evaluate(strangers)).toEqual([]);
    expect(await page.title()).toBe('Sallyport');
    expect(errorsOf(visitor)).toEqual([]);
  });

  test('are filtered by the gateway, and found by text in the page', async () => {
    await using visitor = await open();
    const { page, part } = visitor;
    await part.getByLabel('Node', { exact: true }).fill('edge-2');
    await part.getByLabel('Operation').fill('insert');
    await part.getByLabel('Resource begins with').fill('node/edge-2/app/');
    await part.getByLabel('Operation').press('Enter');
    await page.getByText('Following.').waitFor();
    expect(visitor.requests.at(-1)).toContain(
      'direction=upstream&direction=downstream&node=edge-2&operation=insert&resourcePrefix=node%2Fedge-2%2Fapp%2F',
    );
    await say(1, 'of another', 'app/a', 'insert');
    await say(2, 'of another operation', 'app/a');
    await say(2, 'of another resource', 'other/a', 'insert');
    await say(2, 'Blue', 'app/a', 'insert');
    await say(2, 'Red', 'app/b', 'insert');
    await part.getByText('2 rows', { exact: true }).waitFor();
    await part.getByRole('searchbox').fill('blue');
    await part.getByText('1 of 2 rows', { exact: true }).waitFor();
    await part.getByRole('row').filter({ hasText: 'node/edge-2/app/a' }).waitFor();
    await part.getByLabel('Node', { exact: true }).fill('No name');
    await press(page, 'Apply');
    expect(
      await part.getByLabel('Node', { exact: true }).evaluate((input) => input.matches(':invalid')),
    ).toBe(true);
    await part.getByText('1 of 2 rows', { exact: true }).waitFor();
  });

  test('are told by direction, and filtered by it: what nodes send, what is sent to them, or both', async () => {
    await using visitor = await open({ width: 1160 });
    const { page, part } = visitor;
    const tell = (content: string) =>
      hub.admin.post('/api/v1/nodes/edge-1/messages', {
        ...{ resource: 'app/order', operation: 'insert', content, group: 'user' },
      });
    await follow(page);
    const edgeOf = async (box: Promise<{ x: number; width: number } | null>) => {
      const { x, width } = (await box)!;
      return x + width;
    };
    const last = page.getByRole('button', { name: 'Stop', exact: true });
    expect(await edgeOf(last.boundingBox())).toBeLessThanOrEqual(await edgeOf(part.boundingBox()));
    await tell('to the node');
    await say(1, 'of the node');
    const rows = part.getByRole('row');
    await rows
      .filter({ hasText: 'insert node/edge-1/app/order' })
      .getByText('to it', { exact: true })
      .waitFor();
    await rows
      .filter({ hasText: 'update node/edge-1/app/hello' })
      .getByText('from it', { exact: true })
      .waitFor();
    await part.getByRole('button', { name: 'Show insert node/edge-1/app/order of edge-1' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('"to the node"').waitFor();
    await dialog.getByText('sallyport watch --node edge-1 --direction downstream -o json').waitFor();
    await page.keyboard.press('Escape');
    await part.getByRole('combobox', { name: 'Direction' }).selectOption('to nodes');
    await press(page, 'Apply');
    await page.getByText('Following.').waitFor();
    await say(1, 'not shown');
    await tell('shown');
    await part.getByText('1 row', { exact: true }).waitFor();
    await part.getByRole('combobox', { name: 'Direction' }).selectOption('from nodes');
    await press(page, 'Apply');
    await page.getByText('Following.').waitFor();
    await tell('not shown');
    await say(1, 'shown');
    await part.getByText('1 row', { exact: true }).waitFor();
    await rows.filter({ hasText: 'from it' }).waitFor();
    expect(errorsOf(visitor)).toEqual([]);
  });

  test('show nodes that come and go', async () => {
    await using visitor = await open();
    const { page, part } = visitor;
    await part.getByRole('combobox', { name: 'Show' }).selectOption('coming and going');
    await follow(page);
    await hub.admin.post('/api/v1/nodes/edge-2/disconnect');
    await part.getByText(/^disconnected: /).waitFor();
    await part.getByText('connected over websocket', { exact: true }).waitFor();
    await eventually('edge-2 is back', () => edges[1]!.connected);
  });

  test('pause: what comes waits, and is counted', async () => {
    await using visitor = await open();
    const { page, part } = visitor;
    await follow(page);
    await say(1, 'before');
    await part.getByText('1 row', { exact: true }).waitFor();
    await press(page, 'Pause');
    for (const content of ['one', 'two', 'three']) await say(1, content);
    await part.getByText('1 row; 3 more came since', { exact: true }).waitFor();
    await part.getByText('Paused.').waitFor();
    await press(page, 'Pause');
    await part.getByText('4 rows', { exact: true }).waitFor();
  });

  test('are bounded, however many come, and the page says how many it dropped', async () => {
    await using visitor = await open();
    const { page, part } = visitor;
    const event = (n: number) =>
      `id: ${n}\nevent: message\ndata: {"type":"message","node":"edge-${n}","bytes":${n},"message":{"route":{"operation":"o","resource":"r-${n}"},"content":${n}}}\n\n`;
    const body = Array.from({ length: 5_000 }, (_, n) => event(n)).join('');
    await page.route('**/api/v1/events?direction=*', (route) =>
      route.fulfill({ contentType: 'text/event-stream', body }),
    );
    await press(page, 'Follow');
    await part.getByText('200 rows; 4,800 older ones dropped: 200 are kept').waitFor();
    expect(await part.getByRole('rowheader').count()).toBe(200);
    expect(await part.getByRole('row').nth(1).textContent()).toContain('edge-4999');
  });

  test('hold a stream of the gateway only while they are followed and the page is seen', async () => {
    // Those of the pages before end when the hub has heard that they are gone.
    await eventually('nobody follows', async () => (await followers()) === 0);
    await using visitor = await open();
    const { page, part } = visitor;
    const are = (count: number) => eventually(`${count} streams`, async () => (await followers()) === count);
    await are(1);
    await follow(page);
    await are(2);
    await page.evaluate(setHidden, true);
    await are(0);
    await part.getByText('Resting while the page is hidden.').waitFor({ state: 'attached' });
    await page.evaluate(setHidden, false);
    await are(2);
    await press(page, 'Stop');
    await are(1);
    await part.getByText('Not followed.').waitFor();
  });

  test('L9: go on where they were when the page is seen again, and say what was missed meanwhile', async () => {
    await using visitor = await open();
    const { page, part } = visitor;
    await follow(page);
    await say(1, 'seen');
    await part.getByText('1 row', { exact: true }).waitFor();
    await page.evaluate(setHidden, true);
    await part.getByText('Resting while the page is hidden.').waitFor({ state: 'attached' });
    for (let n = 0; n < 25; n++) await say(1, n);
    await page.evaluate(setHidden, false);
    // A busy machine may see an edge go and come meanwhile, which counts too.
    await part.getByText(/^\d+ events were missed here\.$/).waitFor();
    await part.getByText(/^2\d rows$/).waitFor();
  });

  test('say what the gateway says when it refuses', async () => {
    await using visitor = await open();
    const { page, part } = visitor;
    await page.route('**/api/v1/events?direction=*', (route) =>
      route.fulfill({ status: 503, json: { error: { message: 'too many follow' } } }),
    );
    await press(page, 'Follow');
    await part.getByText('Interrupted, trying again. too many follow').waitFor();
  });
});

test.each(['light', 'dark'] as const)(
  'in the %s scheme messages and their content have names and contrast, and fit a phone',
  async (scheme) => {
    await using visitor = await open({ scheme, width: 360 });
    const { page, part } = visitor;
    await follow(page);
    await say(1, { long: 'x'.repeat(500) }, `app/${'y'.repeat(200)}`);
    await part.getByText('1 row', { exact: true }).waitFor();
    await page.evaluate(setHidden, true);
    await part.getByText('Resting while the page is hidden.').waitFor({ state: 'attached' });
    for (let n = 0; n < 25; n++) await say(1, n);
    await page.evaluate(setHidden, false);
    await part.getByText(/were missed here/).waitFor();
    await press(page, 'Pause');
    const check = async () => {
      expect(await barriers(page)).toEqual([]);
      expect(await page.evaluate(contentWidth)).toBeLessThanOrEqual(360);
    };
    await check();
    await part
      .getByRole('button', { name: /^Show update/ })
      .last()
      .click();
    await page.getByRole('dialog').getByText('"long"').waitFor();
    await check();
  },
);
