import { expect, test } from 'vitest';
import { DescriptorBudget } from '../../src/listeners/descriptor-budget.ts';
import { closeReason } from '../../src/protocol/close-reasons.ts';
import { startQuic } from '../support/edges/quic-rig.ts';
import { eventually } from '../support/eventually.ts';
import { bundleOf } from '../support/pki/fixed-source.ts';
import { mintServer } from '../support/pki/pki.ts';

test('Q1: connections are spread over servers of the same bundle, which come as they are needed and go when they are empty', async () => {
  const budget = new DescriptorBudget(1_000);
  const all = budget.share({ leaving: 0 });
  await using hub = await startQuic({ connectionsPerServer: 4 }, { descriptors: all });
  const edges = [];
  for (let i = 0; i < 20; i++) {
    edges.push(await hub.connect(`edge-${i}`));
    // A server is started before the others are full.
    await eventually('room for the next', () => Math.min(...hub.listener.sessionsOfServers) < 3);
  }
  expect(Math.max(...hub.listener.sessionsOfServers)).toBeLessThanOrEqual(4);
  expect(hub.listener.sessionsOfServers.reduce((a, b) => a + b)).toBe(20);
  expect(hub.listener.generations).toBe(1);
  // A flow has one, and a server three; the first one's are taken from the reserve (N6).
  const used = 20 + 3 * (hub.listener.serverPorts.length - 1);
  expect([all.take(1_000 - used + 1), all.take(1_000 - used)]).toEqual([false, true]);
  all.give(1_000 - used);
  await Promise.all(edges.map((edge, i) => edge.echo(i)));

  for (const edge of edges.slice(1)) edge.link.close(closeReason('Normal'));
  await eventually('the empty servers are closed', () => hub.listener.serverPorts.length <= 2);
  await edges[0]!.echo('still here');
  await (await hub.connect('newcomer')).echo('in');
});

test('Q1: the servers of an old bundle close one by one as they become empty', async () => {
  await using hub = await startQuic({ connectionsPerServer: 4 });
  const edges = [];
  for (let i = 0; i < 8; i++) {
    edges.push(await hub.connect(`edge-${i}`));
    await eventually('room for the next', () => Math.min(...hub.listener.sessionsOfServers) < 3);
  }
  const before = hub.listener.serverPorts;
  const next = bundleOf({ ca: hub.ca, server: await mintServer(hub.ca) });
  hub.source.set(next);
  await hub.listener.applyBundle(next);
  await eventually('what was empty is closed', () =>
    hub.listener.sessionsOfServers.slice(0, -1).every(Boolean),
  );
  for (const edge of edges) await edge.echo('on the old bundle');
  for (const edge of edges.slice(1)) edge.link.close(closeReason('Normal'));
  await eventually('one old server is left', () => hub.listener.serverPorts.length === 2);
  expect(before).toContain(hub.listener.serverPorts[0]);
  await edges[0]!.echo('still here');
  expect(hub.listener.generations).toBe(2);
});
