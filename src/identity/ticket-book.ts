import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import type { NodeIdentity, Refusal, Verdict } from './node-identity.ts';

export interface TicketBookComponents {
  readonly clock: Pick<Clock, 'now'>;
  /**
   * Why the certificate behind a ticket is trusted no longer; undefined when it is. `PeerGate.stillTrusted`.
   */
  readonly stillTrusted: (identity: NodeIdentity) => Refusal | undefined;
}

export interface TicketBookOptions {
  readonly ttlMs: number;
  /** Tickets remembered at once, used ones included. */
  readonly limit: number;
}

const TICKET_DEFAULTS = { ttlMs: 60_000, limit: 10_000 } as const satisfies TicketBookOptions;

interface Entry {
  readonly digest: Buffer;
  readonly identity: NodeIdentity;
  readonly expiresAt: number;
  used: boolean;
}

const TICKET_BYTES = 32;
/** Base64url of so many bytes. */
const TICKET_FORM = /^[A-Za-z0-9_-]{43}$/;

/**
 * The tickets of this process: single-use, short-lived, bound to a node and the fingerprint of its
 * certificate. Only their hashes are kept, and used ones are remembered until they would have expired, so
 * that a replay is told from an invention. Who else takes a ticket asks the replica that issued it
 * (docs/decisions/webtransport.md).
 */
export class TicketBook {
  readonly #components: TicketBookComponents;
  readonly #options: TicketBookOptions;
  /** By SHA-256 of the ticket; in the order of their expiry. */
  readonly #entries = new Map<string, Entry>();

  constructor(components: TicketBookComponents, options: TicketBookOptions = TICKET_DEFAULTS) {
    this.#components = components;
    this.#options = options;
  }

  /** Tickets remembered now. */
  get size(): number {
    this.#forgetExpired();
    return this.#entries.size;
  }

  /** @throws RATE_LIMITED when too many are remembered */
  issue(identity: NodeIdentity): { readonly ticket: string; readonly expiresAt: number } {
    this.#forgetExpired();
    if (this.#entries.size >= this.#options.limit) throw new SallyportError('RATE_LIMITED');
    const ticket = randomBytes(TICKET_BYTES).toString('base64url');
    const digest = ticketDigest(ticket);
    const expiresAt = this.#components.clock.now() + this.#options.ttlMs;
    this.#entries.set(digest.toString('hex'), { digest, identity, expiresAt, used: false });
    return { ticket, expiresAt };
  }

  /**
   * Takes a ticket: whatever the verdict, it works no second time. @param presentedSha256 of the client
   * certificate of this connection
   */
  redeem(ticket: string, presentedSha256?: string): Verdict {
    if (!TICKET_FORM.test(ticket)) return refuseTicket('it is not one of this hub');
    return this.redeemDigest(ticketDigest(ticket), presentedSha256);
  }

  /** As {@link redeem}, by the ticket's SHA-256: what replicas tell each other of a ticket. */
  redeemDigest(digest: Buffer, presentedSha256?: string): Verdict {
    // Looked up by hash: how long that takes tells nothing of the ticket itself.
    const entry = this.#entries.get(digest.toString('hex'));
    if (!entry || !timingSafeEqual(entry.digest, digest))
      return refuseTicket('this hub has not issued it, or long ago; ask for one where the session is opened');
    const { identity } = entry;
    const used = entry.used;
    entry.used = true;
    if (used) return refuseTicket('it has been used already', identity.nodeName);
    if (this.#components.clock.now() >= entry.expiresAt)
      return refuseTicket('it has expired; tickets live a minute', identity.nodeName);
    if (presentedSha256 !== undefined && presentedSha256 !== identity.certificate.sha256)
      return refuseTicket('it was issued to another certificate', identity.nodeName);
    return this.#components.stillTrusted(identity) ?? { ok: true, identity };
  }

  #forgetExpired(): void {
    const now = this.#components.clock.now();
    for (const [key, { expiresAt }] of this.#entries) {
      // A while longer, so that who comes late is told so.
      if (now < expiresAt + this.#options.ttlMs) return;
      this.#entries.delete(key);
    }
  }
}

/** SHA-256 of a ticket. */
export function ticketDigest(ticket: string): Buffer {
  return hash('sha256', ticket, 'buffer');
}

/** @param problem what is wrong with the ticket */
export function refuseTicket(problem: string, claimedNode?: string): Refusal {
  return {
    ok: false,
    reason: 'ticket-refused',
    detail: `the ticket is refused: ${problem}`,
    ...(claimedNode === undefined ? {} : { claimedNode }),
  };
}
