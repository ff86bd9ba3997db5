import type { NodeIdentity, Verdict } from '../identity/node-identity.ts';

/**
 * Tickets stand in for a client certificate where a transport cannot carry one: WebTransport over HTTP/3, and
 * programs in a browser. A node gets a ticket over mutual TLS and opens one session with it, on whatever
 * replica. `identity/ticket-book.ts` keeps the tickets of one replica; `fleet/fleet-tickets.ts` finds those
 * of the others.
 */
export interface SessionTickets {
  /** @throws RATE_LIMITED when too many wait to be used */
  issue(identity: NodeIdentity): SessionTicket;
  /**
   * Takes the ticket. Whatever the verdict, the ticket does not work a second time. The result is a promise
   * when another replica has to be asked; it never rejects.
   * @param presentedSha256 SHA-256 of the client certificate of this very connection, where there is one; it
   * has to be the ticket's
   */
  redeem(ticket: string, presentedSha256?: string): Verdict | Promise<Verdict>;
}

export interface SessionTicket {
  /** Treat it as a secret until it is used or has expired. */
  readonly ticket: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
}
