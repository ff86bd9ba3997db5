import type {
  Claim,
  ClaimHolder,
  ClaimRequest,
  ClaimState,
  NodeOwner,
  NodeOwnership,
  ReplicaInfo,
} from '../contracts/node-ownership.ts';
import type { Clock } from '../core/clock.ts';

/** Ownership where there is one replica: every claim is held at once, in the same turn. */
export class LocalOwnership implements NodeOwnership {
  readonly #clock: Pick<Clock, 'now'>;
  readonly self: ReplicaInfo;
  readonly #claims = new Map<string, LocalClaim>();
  #epoch: number;

  constructor({ clock }: { readonly clock: Pick<Clock, 'now'> }, { replica }: { readonly replica: string }) {
    this.#clock = clock;
    this.self = { replica, run: crypto.randomUUID() };
    // Beyond every epoch of an earlier life of this process.
    this.#epoch = this.#clock.now() * 1_000;
  }

  claim(request: ClaimRequest, holder: ClaimHolder): Claim {
    const claims = this.#claims;
    const claim = new LocalClaim(request, ++this.#epoch, () => {
      if (claims.get(request.node) === claim) claims.delete(request.node);
    });
    claims.get(request.node)?.release();
    claims.set(request.node, claim);
    holder.held(claim.epoch);
    return claim;
  }

  async owner(node: string): Promise<NodeOwner | undefined> {
    const claim = this.#claims.get(node);
    if (!claim) return undefined;
    const { sessionId, transport, since } = claim.request;
    return { ...this.self, sessionId, transport, epoch: claim.epoch, at: since };
  }

  lastKnownOwner(node: string): Promise<NodeOwner | undefined> {
    return this.owner(node);
  }

  replicas(): readonly ReplicaInfo[] {
    return [this.self];
  }

  problem(): undefined {
    return undefined;
  }
}

class LocalClaim implements Claim {
  state: ClaimState = 'held';
  readonly request: ClaimRequest;
  readonly epoch: number;
  readonly #forget: () => void;

  constructor(request: ClaimRequest, epoch: number, forget: () => void) {
    this.request = request;
    this.epoch = epoch;
    this.#forget = forget;
  }

  get node(): string {
    return this.request.node;
  }

  get sessionId(): string {
    return this.request.sessionId;
  }

  release(): void {
    if (this.state === 'over') return;
    this.state = 'over';
    this.#forget();
  }
}
