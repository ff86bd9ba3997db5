import type { Claim, ClaimHolder, ClaimRequest, ClaimState, NodeOwner } from '../contracts/node-ownership.ts';

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

  /** Told even when this claim is over. */
  took(from: NodeOwner, changes: number): void {
    this.#holder.took(from, changes);
  }

  hold(epoch: number): void {
    if (this.#state === 'over') return;
    this.#state = 'held';
    this.#epoch = epoch;
    this.#holder.held(epoch);
  }

  /** It was held before, and nothing has changed since. */
  resume(): void {
    if (this.#epoch !== undefined) this.hold(this.#epoch);
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
