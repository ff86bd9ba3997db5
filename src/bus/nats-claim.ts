import type {
  Claim,
  ClaimHolder,
  ClaimRequest,
  ClaimState,
  NodeOwner,
  Owned,
} from '../contracts/node-ownership.ts';

/** One session's claim to its node, as its holder sees it. */
export class NatsClaim implements Claim {
  readonly request: ClaimRequest;
  /** A claim that was held up by an outage yields to a session that began later elsewhere. */
  late = false;
  #state: ClaimState = 'claiming';
  #epoch: number | undefined;
  readonly #holder: ClaimHolder;
  readonly #onRelease: (claim: NatsClaim) => void;

  constructor(request: ClaimRequest, holder: ClaimHolder, onRelease: (claim: NatsClaim) => void) {
    this.request = request;
    this.#holder = holder;
    this.#onRelease = onRelease;
  }

  get node(): string {
    return this.request.node;
  }

  get sessionId(): string {
    return this.request.sessionId;
  }

  get state(): ClaimState {
    return this.#state;
  }

  get epoch(): number | undefined {
    return this.#epoch;
  }

  release(): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.#onRelease(this);
  }

  hold(owned: Owned): void {
    if (this.#state === 'over') return;
    this.#state = 'held';
    this.#epoch = owned.epoch;
    this.#holder.held(owned);
  }

  /** It was held before, and nothing has changed since. */
  resume(): void {
    if (this.#epoch !== undefined) this.hold({ epoch: this.#epoch, changes: 0 });
  }

  suspend(): void {
    if (this.#state === 'over') return;
    this.late = true;
    if (this.#state === 'suspended') return;
    this.#state = 'suspended';
    this.#holder.suspended();
  }

  lose(to: NodeOwner): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.#holder.lost(to);
  }

  /** A newer claim of this replica for the same node takes its place. */
  replace(): void {
    this.#state = 'over';
  }
}
