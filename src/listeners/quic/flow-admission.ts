import { AddressLimit } from '../address-limit.ts';
import type { Flow, FlowState } from './flow.ts';

export interface AdmissionLimits {
  /** Flows in all, and of one address. */
  readonly connections: number;
  readonly connectionsPerIp: number;
  /** Proven flows without a session. */
  readonly handshakes: number;
}

/**
 * Counts the flows whose client has proven its address. Only they count: whoever forges senders must not use
 * up somebody else's share.
 */
export class FlowAdmission {
  readonly #addresses = new AddressLimit();
  readonly #counted = new Set<Flow>();
  #handshaking = 0;

  /** @returns the limit that is reached; undefined, and the flow counts, when there is room */
  admit(
    flow: Flow,
    { connections, connectionsPerIp, handshakes }: AdmissionLimits,
  ): 'connections' | 'connections-per-ip' | 'handshakes' | undefined {
    if (this.#counted.size >= connections) return 'connections';
    if (this.#handshaking >= handshakes) return 'handshakes';
    if (!this.#addresses.add(flow.address, connectionsPerIp)) return 'connections-per-ip';
    this.#counted.add(flow);
    return undefined;
  }

  /** The flow is about to enter another state. */
  follow(flow: Flow, next: FlowState): void {
    if (flow.state === 'handshaking') this.#handshaking--;
    if (next === 'handshaking') this.#handshaking++;
    if (next === 'closing' && this.#counted.delete(flow)) this.#addresses.remove(flow.address);
  }

  /** The address of a client changed from the one that its flow still says. */
  move(flow: Flow, address: string): void {
    if (!this.#counted.has(flow)) return;
    this.#addresses.remove(flow.address);
    this.#addresses.add(address, Number.POSITIVE_INFINITY);
  }
}
