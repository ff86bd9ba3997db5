import type { Flow } from './flow.ts';
import { readShortDestination } from './quic-packet.ts';

/** A Retry's ID, the connection's, those that a client changes to; more when one address opens several. */
const MAX_A_FLOW = 16;

/** Which flow uses which connection ID; bounded for each flow. */
export class ConnectionIds {
  readonly #owners = new Map<string, Flow>();
  /** Length of the IDs that the library chooses. */
  #bytes = 0;

  find(id: string): Flow | undefined {
    return this.#owners.get(id);
  }

  /** The ID that a datagram with a short header is for; undefined before any was learnt. */
  ofShortHeader(datagram: Buffer): string | undefined {
    return this.#bytes > 0 ? readShortDestination(datagram, this.#bytes) : undefined;
  }

  learn(flow: Flow, id: string): void {
    const owner = this.#owners.get(id);
    // The library derives the ID in a Retry from the client's: whoever repeats a client's first datagram is
    // answered with the ID of its connection, and must not get it.
    if (id === '' || owner === flow || (owner && owner.state !== 'new')) return;
    this.#owners.set(id, flow);
    this.#bytes = id.length;
    flow.connectionIds.push(id);
    if (flow.connectionIds.length > MAX_A_FLOW) this.#owners.delete(flow.connectionIds.shift()!);
  }

  forget(flow: Flow): void {
    for (const id of flow.connectionIds) if (this.#owners.get(id) === flow) this.#owners.delete(id);
  }
}
