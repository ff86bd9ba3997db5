import { expect, test } from 'vitest';
import { FleetTickets } from '../../../src/fleet/fleet-tickets.ts';
import type { NodeIdentity, Refusal } from '../../../src/identity/node-identity.ts';
import { TicketBook } from '../../../src/identity/ticket-book.ts';
import { LinkedReplicas } from '../../fakes/linked-replicas.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';

const identity: NodeIdentity = {
  nodeName: 'edge-1',
  legacy: false,
  certificate: {
    serial: '01',
    sha256: 'ab'.repeat(32),
    issuerSha256: 'cd'.repeat(32),
    issuer: 'CN=KubeEdge',
    notBefore: 0,
    notAfter: 4e12,
  },
};

function replicas(...names: string[]) {
  const { all, alive, asked } = new LinkedReplicas(...names);
  const distrusted = new Map<string, Refusal>();
  const tickets = all.map((parts) => {
    const stillTrusted = () => distrusted.get(parts.ownership.self.replica);
    const book = new TicketBook({ clock: new ManualClock(), stillTrusted });
    return new FleetTickets({ ...parts, book, stillTrusted });
  });
  return { tickets, alive, asked, distrusted };
}

test('G1: a ticket of one replica opens one session in the whole fleet', async () => {
  const fleet = replicas('r1', 'r2');
  const [r1, r2] = fleet.tickets;
  const { ticket } = r1!.issue(identity);
  expect(await r2!.redeem(ticket)).toEqual({ ok: true, identity });
  for (const replica of [r1!, r2!])
    expect(await replica.redeem(ticket)).toMatchObject({ ok: false, reason: 'ticket-refused' });
  const local = r1!.issue(identity).ticket;
  expect(r1!.redeem(local)).toEqual({ ok: true, identity });
  expect(await r2!.redeem(local)).toMatchObject({ ok: false, detail: expect.stringMatching(/used already/) });
});

test('replicas tell each other no ticket, and the certificate of the connection has to be the same one', async () => {
  const fleet = replicas('r1', 'r2');
  const [r1, r2] = fleet.tickets;
  const { ticket } = r1!.issue(identity);
  expect(await r2!.redeem(ticket, 'ee'.repeat(32))).toMatchObject({
    detail: expect.stringMatching(/another certificate/),
  });
  expect(JSON.stringify(fleet.asked)).not.toContain(ticket.split('.')[0]);
});

test('a ticket of a replica that is gone, or of nobody, is refused, and so is a node that is trusted here no longer', async () => {
  const fleet = replicas('r1', 'r2');
  const [r1, r2] = fleet.tickets;
  const { ticket } = r1!.issue(identity);
  fleet.distrusted.set('r2', { ok: false, reason: 'revoked', detail: 'it is revoked' });
  expect(await r2!.redeem(ticket)).toMatchObject({ ok: false, reason: 'revoked' });
  fleet.alive.delete('r1');
  expect(await r2!.redeem(r1!.issue(identity).ticket)).toMatchObject({ ok: false, reason: 'ticket-refused' });
  for (const odd of ['', '.', 'x', 'a.b', `${'A'.repeat(43)}.run-of-r2`, `${'A'.repeat(43)}.nobody`])
    expect(await r2!.redeem(odd)).toMatchObject({ ok: false, reason: 'ticket-refused' });
});
