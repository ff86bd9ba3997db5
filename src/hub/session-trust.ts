import type { Logger } from '../core/log.ts';
import type { NodeIdentity, Refusal } from '../identity/node-identity.ts';
import { type CloseReason, closeReason } from '../protocol/close-reasons.ts';
import { PEER_REASONS } from '../protocol/rejection-reasons.ts';
import type { Session } from './session.ts';

/** Why an identity is no longer accepted; undefined while it is. */
export type TrustCheck = (identity: NodeIdentity) => Refusal | undefined;

export interface SessionTrustHooks {
  sessions(): Iterable<Session>;
  /** The node may have no session from this moment on. */
  shutOut(session: Session, reason: CloseReason): void;
  /** The session has to end soon, but need not at once. */
  planEnd(session: Session, reason: CloseReason): void;
}

/** Which identities may have a session now. */
export class SessionTrust {
  readonly #log: Logger;
  readonly #hooks: SessionTrustHooks;
  #check: TrustCheck = () => undefined;

  constructor(log: Logger, hooks: SessionTrustHooks) {
    this.#log = log;
    this.#hooks = hooks;
  }

  /** What an edge that is refused is told. */
  refusal(peer: NodeIdentity): CloseReason | undefined {
    const refusal = this.#check(peer);
    return refusal && closeReason(PEER_REASONS[refusal.reason].close);
  }

  /** @returns how many sessions are no longer covered */
  apply(check: TrustCheck): number {
    this.#check = check;
    let refused = 0;
    for (const session of [...this.#hooks.sessions()]) {
      const reason = this.refusal(session.connection.peer);
      if (!reason) {
        // An expired certificate stays so, whatever is trusted.
        if (session.plannedEnd?.reason.name !== 'CertificateExpired') session.plannedEnd = undefined;
        continue;
      }
      refused++;
      if (reason.name === 'Revoked' || reason.name === 'Quarantined') this.#hooks.shutOut(session, reason);
      else if (session.plannedEnd?.reason.name !== reason.name) this.#hooks.planEnd(session, reason);
    }
    if (refused > 0) this.#log.warn({ sessions: refused }, 'sessions are no longer trusted and will end');
    return refused;
  }
}
