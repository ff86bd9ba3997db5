import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { knock, pageOf, visit } from '../support/browser.ts';
import { gatewayInFront } from '../support/cloudcore/gateway-in-front.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';
import { mintCa, mintEdge } from '../support/pki/pki.ts';
import { barriers } from './accessibility.ts';
import { barTransition, clipboard, contentWidth, focused, ground, setHidden } from './in-page.js';

/** The status page in Chromium, on a real gateway, with the admin certificate. */
let hub: TestGateway;
const clients: EdgeClient[] = [];
const join = async (node: string) => {
  const client = await EdgeClient.join({ ...hub.edgeOptions(node), token: await hub.nodeToken(node) });
  await client.connect();
  clients.push(client);
  return client;
};
const open = async (options: Parameters<typeof visit>[0] = {}) => {
  const visitor = await visit({ as: hub, ...options });
  await visitor.page.goto(pageOf(hub));
  await visitor.page.getByText('Live', { exact: true }).waitFor();
  await visitor.page.getByText('as wanted').first().waitFor();
  await visitor.page.getByRole('rowheader', { name: 'edge-1', exact: true }).waitFor();
  return visitor;
};

beforeAll(async () => {
  hub = await startTestGateway({ settings: { 'hub.replica': 'hub-0' } });
  await join('edge-1');
  await hub.admin.post('/api/v1/revocations/quarantine', { node: 'edge-8', note: 'odd traffic' });
  await knock(hub, await mintEdge(await mintCa(), 'edge-9'), 'edge-9');
});
afterAll(async () => {
  for (const client of clients) await client.close();
  await hub?.[Symbol.asyncDispose]();
});

describe('the page', () => {
  test('loads without an error, and asks nobody but this gateway', async () => {
    await using visitor = await visit({ as: hub });
    const answer = await visitor.page.goto(pageOf(hub));
    const policy = answer!.headers()['content-security-policy'];
    expect(policy).toMatch(/^default-src 'none'; script-src 'self' 'sha256-[^']+'; style-src 'self'/);
    expect(policy).not.toContain('unsafe');
    await visitor.page.getByText(/Ready$/).waitFor();
    await visitor.page.getByRole('rowheader', { name: 'edge-1', exact: true }).waitFor();
    expect(visitor.complaints).toEqual([]);
    expect(visitor.requests.length).toBeGreaterThan(15);
    expect(visitor.requests.filter((url) => !url.startsWith(pageOf(hub)))).toEqual([]);
  });

  test('is refused without a client certificate, as everything it is made of', async () => {
    await using visitor = await visit();
    for (const path of ['', 'ui/main.js', 'ui/style.css', 'ui/vendor/preact.js']) {
      const answer = await visitor.page.goto(pageOf(hub) + path);
      expect(answer!.status(), path).toBe(401);
      expect(await answer!.text()).toContain('NOT_AUTHENTICATED');
    }
  });

  test('shows the certificates, what is served, who is shut out, and the checks', async () => {
    await using visitor = await open();
    const { page } = visitor;
    const certificates = page.getByRole('region', { name: 'Certificates', exact: true });
    await certificates.getByRole('rowheader', { name: /^CA/ }).waitFor();
    await certificates.getByRole('rowheader', { name: /Hub certificate/ }).waitFor();
    await certificates.getByText('in 89 d').waitFor();
    const revocations = page.getByRole('region', { name: 'Revoked and quarantined', exact: true });
    await revocations.getByRole('rowheader', { name: /edge-8/ }).waitFor();
    await revocations.getByText('quarantine', { exact: true }).waitFor();
    await page.getByRole('region', { name: 'Health checks' }).getByText('certificates passes').waitFor();
    await expect(
      page.getByRole('region', { name: 'Served', exact: true }).getByText('as wanted').count(),
    ).resolves.toBeGreaterThan(2);
  });

  test('L2: shows a rejected node with the reason the edge was told', async () => {
    await using visitor = await open();
    const entry = visitor.page
      .getByRole('region', { name: 'Rejections' })
      .getByRole('listitem')
      .filter({ hasText: 'edge-9' });
    await entry.getByText('unknown-ca', { exact: true }).waitFor();
    await visitor.page
      .getByRole('region', { name: 'Attention' })
      .getByText(/peers? rejected within the hour/)
      .waitFor();
  });

  test('shows a node connecting and leaving while one looks', async () => {
    await using visitor = await open();
    const row = visitor.page.getByRole('rowheader', { name: 'edge-2', exact: true });
    expect(await row.count()).toBe(0);
    const client = await join('edge-2');
    await row.waitFor({ timeout: 20_000 });
    await client.close();
    await row.waitFor({ state: 'detached', timeout: 20_000 });
    expect(visitor.requests.filter((url) => url.endsWith('/api/v1/nodes')).length).toBe(1);
  });

  test('shows which CloudCore a node has', async () => {
    await using it = await gatewayInFront({ 'hub.replica': 'hub-1' });
    await using edge = await it.edge('edge-1');
    await edge.ask('query', 'kube-node-lease/lease/edge-1');
    await using visitor = await visit({ as: it.hub });
    const { page } = visitor;
    await page.goto(pageOf(it.hub));
    await page.getByRole('cell', { name: it.cloudcore.address }).waitFor();
    await page.getByRole('region', { name: 'Sessions' }).getByText(it.cloudcore.address).waitFor();
    expect(visitor.complaints).toEqual([]);
  });

  test('rests while it is hidden', async () => {
    await using visitor = await open();
    await visitor.page.evaluate(setHidden, true);
    await visitor.page.getByText('Paused', { exact: true }).waitFor();
    await visitor.page.evaluate(setHidden, false);
    await visitor.page.getByText('Live', { exact: true }).waitFor();
  });
});

describe('when something is not there', () => {
  test('a route that the gateway lacks, or that fails, costs its part of the page only', async () => {
    await using visitor = await visit({ as: hub });
    const { page } = visitor;
    await page.route('**/api/v1/rejections?*', (route) => route.fulfill({ status: 404, json: {} }));
    await page.route('**/api/v1/revocations', (route) =>
      route.fulfill({ status: 503, json: { error: { message: 'the store is away' } } }),
    );
    await page.goto(pageOf(hub));
    await page
      .getByRole('region', { name: 'Rejections' })
      .getByText('Not available on this gateway.')
      .waitFor();
    await page
      .getByRole('region', { name: 'Revoked' })
      .getByText('Could not be read: the store is away.')
      .waitFor();
    await page.getByRole('rowheader', { name: 'edge-1', exact: true }).waitFor();
  });

  test('a gateway that is gone is said, and what was read stays', async () => {
    await using visitor = await open();
    const { page } = visitor;
    await page.route('**/api/v1/info', (route) => route.abort());
    await page.getByText(/No answer$/).waitFor({ timeout: 20_000 });
    await page.getByRole('rowheader', { name: 'edge-1', exact: true }).waitFor();
  });
});

describe('thousands of nodes', () => {
  const items = Array.from({ length: 5_000 }, (_, index) => ({
    node: `edge-${index + 1}`,
    replica: `hub-${index % 3}`,
    transport: ['websocket', 'quic', 'webtransport'][index % 3],
    remoteAddress: `192.0.2.${index % 250}`,
    connectedSince: new Date(1_790_000_000_000).toISOString(),
    lastHeard: new Date(1_790_000_000_000).toISOString(),
    certificate: {
      serial: index.toString(16),
      notAfter: new Date(1_900_000_000_000 - index * 60_000).toISOString(),
    },
    queued: index === 4_321 ? 7 : 0,
    unacknowledged: 0,
  }));

  test('are paged, sorted and searched', async () => {
    await using visitor = await visit({ as: hub });
    const { page } = visitor;
    await page.route('**/api/v1/nodes', (route) => route.fulfill({ json: { items } }));
    await page.goto(pageOf(hub));
    const nodes = page.getByRole('region', { name: 'Nodes', exact: true });
    await nodes.getByText('1–25 of 5,000 nodes').waitFor();
    const first = () => nodes.getByRole('rowheader').first().textContent();
    // As people count: edge-2 comes after edge-1, not after edge-1999.
    expect(await nodes.getByRole('rowheader').nth(1).textContent()).toBe('edge-2');
    await nodes.getByRole('button', { name: 'Next' }).click();
    expect(await first()).toBe('edge-26');
    await nodes.getByRole('button', { name: /^Queue/ }).click();
    await nodes.getByRole('button', { name: /^Queue/ }).click();
    expect(await nodes.getByRole('columnheader', { name: /Queue/ }).getAttribute('aria-sort')).toBe(
      'descending',
    );
    await nodes.getByRole('searchbox').fill('quic hub-1 edge-4322');
    await expect.poll(first).toBe('edge-4322');
    await nodes.getByText('sallyport nodes show edge-4322').waitFor();
    await nodes.getByRole('searchbox').fill('nobody');
    await nodes.getByText('No node matches.').waitFor();
  });
});

describe('for everybody', () => {
  test('the keyboard reaches everything, and one sees where it is', async () => {
    await using visitor = await open();
    const { page } = visitor;
    await page.keyboard.press('Tab');
    expect(await page.evaluate(focused)).toMatchObject({ name: 'Skip to content', isInView: true });
    await page.keyboard.press('Enter');
    expect((await page.evaluate(focused)).id).toBe('main');
    const reached: string[] = [];
    for (let step = 0; step < 60; step++) {
      await page.keyboard.press('Tab');
      const { name, outline } = await page.evaluate(focused);
      if (name === '' || name.startsWith('/metrics')) break;
      expect(outline, name).toBe('solid 2px');
      reached.push(name);
    }
    expect(reached).toContain('Copy sallyport nodes rejected');
    expect(reached.some((name) => name.startsWith('Find a node'))).toBe(true);
    expect(reached.some((name) => name.startsWith('Transport'))).toBe(true);
    await page.getByRole('button', { name: /^Transport/ }).focus();
    await page.keyboard.press('Enter');
    expect(await page.getByRole('columnheader', { name: /^Transport/ }).getAttribute('aria-sort')).toBe(
      'ascending',
    );
  });

  test('a command is copied, and that is said', async () => {
    await using visitor = await open();
    await visitor.context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await visitor.page.getByRole('button', { name: 'Copy sallyport nodes rejected' }).click();
    await visitor.page.getByRole('status').filter({ hasText: 'Copied' }).waitFor();
    expect(await visitor.page.evaluate(clipboard)).toBe('sallyport nodes rejected');
  });

  test.each(['light', 'dark'] as const)(
    'in the %s scheme everything has a name and enough contrast',
    async (scheme) => {
      await using visitor = await open({ scheme });
      const { page } = visitor;
      expect(await barriers(page)).toEqual([]);
      expect(await page.evaluate(ground)).toBe(scheme === 'light' ? 'rgb(244, 246, 247)' : 'rgb(15, 20, 23)');
    },
  );

  test.each([360, 768, 1280])('at %i pixels nothing has to be scrolled sideways', async (width) => {
    await using visitor = await open({ width });
    expect(await visitor.page.evaluate(contentWidth)).toBeLessThanOrEqual(width);
  });

  test('nothing moves for those who asked for it', async () => {
    await using still = await open({ reducedMotion: true });
    await using moving = await open({ reducedMotion: false });
    expect(await still.page.evaluate(barTransition)).toBe('0s');
    expect(await moving.page.evaluate(barTransition)).toContain('0.4s');
  });
});
