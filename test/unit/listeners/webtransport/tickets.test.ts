import { afterEach, expect, test } from 'vitest';
import { loadWebTransportLibrary } from '../../../../src/listeners/webtransport/library.ts';
import { FRAME_TYPES } from '../../../../src/protocol/codec-framed.ts';
import { encodeHello } from '../../../../src/protocol/quic-control.ts';
import { askForSession, StrangerClient, startWebTransport } from '../../../support/edges/webtransport-rig.ts';
import { eventually } from '../../../support/eventually.ts';
import { mintEdge } from '../../../support/pki/pki.ts';

type Rig = Awaited<ReturnType<typeof startWebTransport>>;
const { module: library } = await loadWebTransportLibrary();
const clients: StrangerClient[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

async function ticketOf(hub: Rig, node: string): Promise<string> {
  const { certificate } = await mintEdge(hub.ca, node);
  const verdict = hub.gate.check(certificate, []);
  if (!verdict.ok) throw new Error(verdict.detail);
  return hub.tickets.issue(verdict.identity).ticket;
}
function stranger(hub: Rig, ticket?: string): StrangerClient {
  const query = ticket === undefined ? '' : `?ticket=${ticket}`;
  const client = new StrangerClient(library, `https://127.0.0.1:${hub.port}/edge${query}`, hub.ca);
  clients.push(client);
  return client;
}
const hello = (node: string) => encodeHello({ node_id: node, project_id: 'p' });

test('a program without client certificate opens a session with a ticket of its node', async () => {
  await using hub = await startWebTransport();
  const client = stranger(hub, await ticketOf(hub, 'edge-1'));
  expect(await client.open()).toBe(true);
  client.write(hello('edge-1'));
  await eventually('the welcome came', () => client.frames.length > 0);
  expect(client.frames[0]!.type).toBe(FRAME_TYPES.welcome);
  expect(hub.acceptor.connections.map(({ peer }) => peer.nodeName)).toEqual(['edge-1']);
});

test('a replayed ticket opens nothing', async () => {
  await using hub = await startWebTransport();
  const ticket = await ticketOf(hub, 'edge-1');
  expect(await stranger(hub, ticket).open()).toBe(true);
  expect(await stranger(hub, ticket).open()).toBe(false);
  const { status, headers } = await askForSession(hub.port, { path: `/edge?ticket=${ticket}` });
  expect([status, headers['sallyport-reason']]).toEqual([401, 'ticket-refused']);
  expect(headers['sallyport-detail']).toMatch(/used already/);
});

test('K1: neither no ticket nor an invented one opens anything', async () => {
  await using hub = await startWebTransport();
  expect(await stranger(hub).open()).toBe(false);
  expect(await stranger(hub, 'A'.repeat(43)).open()).toBe(false);
  expect(hub.acceptor.connections).toEqual([]);
});

test('G1: a session opened with a ticket of one node cannot say hello as another', async () => {
  await using hub = await startWebTransport();
  const client = stranger(hub, await ticketOf(hub, 'attacker'));
  expect(await client.open()).toBe(true);
  client.write(hello('victim'));
  expect(await client.ended).toMatchObject({
    closeCode: 4403,
    reason: expect.stringContaining('node-mismatch'),
  });
  expect(hub.acceptor.connections).toEqual([]);
});

test('a ticket over a connection with another client certificate is refused', async () => {
  await using hub = await startWebTransport();
  const ticket = await ticketOf(hub, 'edge-1');
  // The same node, another certificate: stolen tickets are of no use to who has a certificate.
  const edge = await mintEdge(hub.ca, 'edge-1');
  const { status, headers } = await askForSession(hub.port, { path: `/edge?ticket=${ticket}`, edge });
  expect([status, headers['sallyport-reason']]).toEqual([401, 'ticket-refused']);
  expect(headers['sallyport-detail']).toMatch(/another certificate/);
});
