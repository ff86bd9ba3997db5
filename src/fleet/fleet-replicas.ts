import type { GatewayInfo } from '../contracts/gateway-info.ts';
import type { ReplicaListing, Replicas } from '../contracts/replicas.ts';
import { type GatherParts, gather } from './gather.ts';

/** Asks every replica what it is. */
export class FleetReplicas implements Replicas {
  readonly #parts: GatherParts;
  readonly #info: () => GatewayInfo;

  constructor(parts: GatherParts & { readonly info: () => GatewayInfo }) {
    this.#parts = parts;
    this.#info = parts.info;
    parts.calls.serve('info', () => [parts.info()]);
  }

  list(signal?: AbortSignal): Promise<ReplicaListing> {
    return gather(this.#parts, 'info', { own: [this.#info()], signal });
  }
}
