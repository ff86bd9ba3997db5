import type { SallyportError } from '../core/errors.ts';
import type { PeerFacts } from '../protocol/peer-facts.ts';
import { type PeerReason, type RequestReason, reasonOfCode } from '../protocol/rejection-reasons.ts';
import type { Verdict } from './node-identity.ts';

/**
 * The word for a refused request: where its certificate is at fault the gate's, else that of the error. The
 * same in answer, log, metric and `nodes rejected`.
 */
export function rejectionReason(
  { code }: Pick<SallyportError, 'code'>,
  verdict: Verdict | undefined,
): PeerReason | RequestReason {
  if (code !== 'PEER_REFUSED' || !verdict) return reasonOfCode(code);
  if (!verdict.ok) return verdict.reason;
  return verdict.identity.legacy ? 'legacy-certificate' : reasonOfCode(code);
}

/** What the edge can compare with its own clock and CA; undefined when nothing of the kind is at fault. */
export function rejectionFacts(
  { code, details }: Pick<SallyportError, 'code' | 'details'>,
  verdict: Verdict | undefined,
): PeerFacts | undefined {
  if (code === 'PEER_REFUSED') return verdict?.ok === false ? verdict.facts : undefined;
  if (code !== 'TOKEN_EXPIRED') return undefined;
  return { hubTime: Date.parse(String(details.now)), notAfter: Date.parse(String(details.expiredAt)) };
}
