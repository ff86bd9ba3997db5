import { expect, test } from 'vitest';
import { mintCa, mintEdge } from '../../support/pki/pki.ts';
import { startHttps } from './https-fixture.ts';

const TICKET = { path: '/webtransport/ticket', method: 'POST' };

test('a node with its certificate gets a ticket for itself, not to be cached', async () => {
  await using hub = await startHttps();
  const as = await mintEdge(hub.ca, 'edge-1');
  const answer = await hub.get(TICKET.path, { ...TICKET, as });
  expect(answer.status).toBe(200);
  expect(answer.headers['cache-control']).toBe('no-store');
  const { ticket, node, expires_at } = answer.json as { ticket: string; node: string; expires_at: string };
  expect(node).toBe('edge-1');
  expect(Date.parse(expires_at) - Date.now()).toBeGreaterThan(50_000);
  const verdict = hub.tickets.redeem(ticket, as.sha256);
  expect(verdict.ok && verdict.identity.nodeName).toBe('edge-1');
});

test('nobody gets a ticket without a trusted certificate, or with GET', async () => {
  await using hub = await startHttps();
  const stranger = await hub.get(TICKET.path, TICKET);
  expect([stranger.status, stranger.headers['sallyport-reason']]).toEqual([401, 'not-authenticated']);
  const rogue = await hub.get(TICKET.path, { ...TICKET, as: await mintEdge(await mintCa(), 'edge-1') });
  expect([rogue.status, rogue.headers['sallyport-reason']]).toEqual([401, 'unknown-ca']);
  const as = await mintEdge(hub.ca, 'edge-1');
  expect((await hub.get(TICKET.path, { as })).status).toBe(404);
  expect(hub.tickets.size).toBe(0);
});

test('D10: tickets are limited for each node', async () => {
  await using hub = await startHttps({ options: { requestsPerMinutePerSource: 3 } });
  const as = await mintEdge(hub.ca, 'edge-1');
  const statuses = [];
  for (let count = 0; count < 5; count++)
    statuses.push((await hub.get(TICKET.path, { ...TICKET, as })).status);
  expect(statuses).toEqual([200, 200, 200, 429, 429]);
});
