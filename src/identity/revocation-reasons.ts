/**
 * Words of RFC 5280 §5.3.1 with their numbers; removeFromCRL belongs to delta CRLs, which there are none of.
 */
export const REVOCATION_REASONS = {
  unspecified: 0,
  keyCompromise: 1,
  cACompromise: 2,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  /** Quarantine: meant to be lifted. */
  certificateHold: 6,
  privilegeWithdrawn: 9,
  aACompromise: 10,
} as const;
export type RevocationReason = keyof typeof REVOCATION_REASONS;

/** Why a peer is shut out. */
export interface ShutOut {
  /** `quarantined` is meant to be lifted, so the edge waits; `revoked` is for good. */
  readonly word: 'revoked' | 'quarantined';
  /** The edge may read it. */
  readonly text: string;
}
