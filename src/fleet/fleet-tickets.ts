import type { NodeOwnership } from '../contracts/node-ownership.ts';
import type { ReplicaCalls } from '../contracts/replica-calls.ts';
import type { SessionTicket, SessionTickets } from '../contracts/session-tickets.ts';
import { describeError } from '../core/errors.ts';
import type { NodeIdentity, Refusal, Verdict } from '../identity/node-identity.ts';
import { refuseTicket, type TicketBook, ticketDigest } from '../identity/ticket-book.ts';

export interface FleetTicketsParts {
  /** Those this replica issued. */
  readonly book: TicketBook;
  readonly ownership: Pick<NodeOwnership, 'self' | 'replicas'>;
  readonly calls: ReplicaCalls;
  /** Why the certificate behind a ticket is trusted here no longer; undefined when it is. */
  readonly stillTrusted: (identity: NodeIdentity) => Refusal | undefined;
}

const DIGEST = /^[0-9a-f]{64}$/;
/** An edge waits for its session meanwhile, milliseconds. */
const ASK_MS = 3_000;

/**
 * Tickets that any replica takes. A ticket names the replica that issued it, and that one alone decides: it
 * remembers which were used, so a ticket opens one session in the whole fleet. Replicas tell each other the
 * hash of a ticket, never the ticket.
 */
export class FleetTickets implements SessionTickets {
  readonly #parts: FleetTicketsParts;

  constructor(parts: FleetTicketsParts) {
    this.#parts = parts;
    parts.calls.serve('tickets.redeem', (payload) => {
      const { digest, presentedSha256 } = payload as Partial<Record<string, unknown>>;
      if (typeof digest !== 'string' || !DIGEST.test(digest))
        return [refuseTicket('it is not one of this hub')];
      const presented = typeof presentedSha256 === 'string' ? presentedSha256 : undefined;
      return [parts.book.redeemDigest(Buffer.from(digest, 'hex'), presented)];
    });
  }

  issue(identity: NodeIdentity): SessionTicket {
    const { ticket, expiresAt } = this.#parts.book.issue(identity);
    return { ticket: `${ticket}.${this.#parts.ownership.self.run}`, expiresAt };
  }

  redeem(ticket: string, presentedSha256?: string): Verdict | Promise<Verdict> {
    const { book, ownership } = this.#parts;
    const [secret = '', run] = ticket.split('.', 2);
    if (run === ownership.self.run) return book.redeem(secret, presentedSha256);
    const issuer = ownership.replicas().find((replica) => replica.run === run);
    if (!issuer) return refuseTicket('no replica that is alive has issued it; ask for a new one');
    return this.#ask(issuer, { digest: ticketDigest(secret).toString('hex'), presentedSha256 });
  }

  async #ask(
    issuer: Parameters<ReplicaCalls['ask']>[0],
    question: { readonly digest: string; readonly presentedSha256: string | undefined },
  ): Promise<Verdict> {
    const { calls, stillTrusted } = this.#parts;
    try {
      const [verdict] = await calls.ask(issuer, 'tickets.redeem', question, { timeoutMs: ASK_MS });
      const { ok } = verdict as Verdict;
      if (!ok) return verdict as Refusal;
      const { identity } = verdict as Verdict & { ok: true };
      // It was trusted there; here it has to be so as well.
      return stillTrusted(identity) ?? { ok: true, identity };
    } catch (error) {
      return refuseTicket(`the replica that issued it could not be asked (${describeError(error)})`);
    }
  }
}
