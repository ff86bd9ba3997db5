import { expect, test } from 'vitest';
import { isSallyportError } from '../../../src/core/errors.ts';
import type { NodeIdentity, Refusal } from '../../../src/identity/node-identity.ts';
import { TicketBook } from '../../../src/identity/ticket-book.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';

const identity: NodeIdentity = {
  nodeName: 'edge-1',
  legacy: false,
  certificate: {
    serial: '01',
    sha256: 'aa'.repeat(32),
    issuerSha256: 'bb'.repeat(32),
    issuer: 'CN=KubeEdge',
    notBefore: 0,
    notAfter: 2 ** 42,
  },
};

function book(limit = 100) {
  const clock = new ManualClock();
  const distrusted = new Map<string, Refusal>();
  const tickets = new TicketBook(
    { clock, stillTrusted: ({ nodeName }) => distrusted.get(nodeName) },
    { ttlMs: 60_000, limit },
  );
  return { clock, distrusted, tickets };
}
const detail = (verdict: ReturnType<TicketBook['redeem']>) => (verdict.ok ? 'accepted' : verdict.detail);

test('a ticket opens one session for the node it was issued to, and a replay is told so', () => {
  const { tickets } = book();
  const { ticket } = tickets.issue(identity);
  expect(tickets.redeem(ticket)).toEqual({ ok: true, identity });
  const replay = tickets.redeem(ticket);
  expect(replay).toMatchObject({ ok: false, reason: 'ticket-refused', claimedNode: 'edge-1' });
  expect(detail(replay)).toMatch(/used already/);
});

test('a ticket lives 60 seconds to the millisecond; a late one is told so and stays refused', async () => {
  const { clock, tickets } = book();
  const [inTime, late] = [tickets.issue(identity), tickets.issue(identity)];
  expect(inTime.expiresAt).toBe(clock.now() + 60_000);
  await clock.advance(59_999);
  expect(tickets.redeem(inTime.ticket).ok).toBe(true);
  await clock.advance(1);
  expect(detail(tickets.redeem(late.ticket))).toMatch(/expired/);
  expect(tickets.redeem(late.ticket).ok).toBe(false);
});

test('a used ticket is remembered for longer than it could have been used', async () => {
  const { clock, tickets } = book();
  const { ticket } = tickets.issue(identity);
  tickets.redeem(ticket);
  for (let seconds = 0; seconds < 180; seconds += 10) {
    expect(tickets.redeem(ticket).ok).toBe(false);
    await clock.advance(10_000);
  }
  expect(tickets.size).toBe(0);
});

test('a ticket presented over a connection with another certificate is refused, and spent', () => {
  const { tickets } = book();
  const { ticket } = tickets.issue(identity);
  expect(detail(tickets.redeem(ticket, 'cc'.repeat(32)))).toMatch(/another certificate/);
  expect(tickets.redeem(ticket, identity.certificate.sha256).ok).toBe(false);
  const second = tickets.issue(identity);
  expect(tickets.redeem(second.ticket, identity.certificate.sha256).ok).toBe(true);
});

test('a ticket falls with the trust in the certificate behind it', () => {
  const { tickets, distrusted } = book();
  const { ticket } = tickets.issue(identity);
  distrusted.set('edge-1', { ok: false, reason: 'revoked', detail: 'node edge-1, revoked' });
  expect(tickets.redeem(ticket)).toMatchObject({ ok: false, reason: 'revoked' });
});

test('what was never issued is refused, whatever its form, and no refusal repeats it', () => {
  const { tickets } = book();
  const invented = ['', 'x', 'A'.repeat(43), 'A'.repeat(10_000), '__proto__', '\u0000'];
  for (const ticket of invented) {
    const verdict = tickets.redeem(ticket);
    expect(verdict).toMatchObject({ ok: false, reason: 'ticket-refused' });
    if (ticket.length > 1) expect(detail(verdict)).not.toContain(ticket);
  }
});

test('no more tickets are remembered than the limit, and there is room again once they are late', async () => {
  const { clock, tickets } = book(3);
  for (let count = 0; count < 3; count++) tickets.issue(identity);
  let refused: unknown;
  try {
    tickets.issue(identity);
  } catch (error) {
    refused = error;
  }
  expect(isSallyportError(refused, 'RATE_LIMITED')).toBe(true);
  await clock.advance(120_000);
  expect(tickets.issue(identity).ticket).toHaveLength(43);
});
