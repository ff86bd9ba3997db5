import type {
  Claim,
  ClaimHolder,
  ClaimRequest,
  ClaimState,
  NodeOwner,
  NodeOwnership,
} from '../../src/contracts/node-ownership.ts';

/** An ownership whose answers the test gives. */
export class SlowOwnership implements NodeOwnership {
  readonly self = { replica: 'test', run: 'run' };
  readonly claims: { readonly request: ClaimRequest; readonly holder: ClaimHolder; released: boolean }[] = [];
  elsewhere: NodeOwner | undefined;

  claim(request: ClaimRequest, holder: ClaimHolder): Claim {
    const entry = { request, holder, released: false };
    this.claims.push(entry);
    const state: ClaimState = 'claiming';
    return {
      node: request.node,
      sessionId: request.sessionId,
      state,
      epoch: undefined,
      release: () => {
        entry.released = true;
      },
    };
  }

  async owner(): Promise<NodeOwner | undefined> {
    return this.elsewhere;
  }

  lastKnownOwner(): Promise<NodeOwner | undefined> {
    return this.owner();
  }

  replicas() {
    return [this.self];
  }

  problem(): undefined {
    return undefined;
  }
}

export const otherOwner: NodeOwner = {
  replica: 'other',
  run: 'other-run',
  sessionId: 'their-session',
  transport: 'quic',
  epoch: 7,
  at: 0,
};
