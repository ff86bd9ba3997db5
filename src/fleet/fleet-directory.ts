import type {
  LocalNodes,
  NodeDirectory,
  NodeInfo,
  NodeListing,
  SendRequest,
  SendResult,
} from '../contracts/node-directory.ts';
import type { NodeOwner, NodeOwnership } from '../contracts/node-ownership.ts';
import type { ReplicaCalls } from '../contracts/replica-calls.ts';
import {
  CLOSE_REASONS,
  type CloseReason,
  type CloseReasonName,
  closeReason,
} from '../protocol/close-reasons.ts';
import { isNodeName } from '../protocol/node-name.ts';
import { gather } from './gather.ts';

export interface FleetDirectoryComponents {
  readonly local: LocalNodes;
  readonly ownership: Pick<NodeOwnership, 'self' | 'owner' | 'replicas' | 'problem'>;
  readonly calls: ReplicaCalls;
}

/**
 * The nodes of the whole fleet, as seen from one replica. Lists are gathered from every replica that is
 * alive, so that no replica has to remember the nodes of the others; a question about one node goes to the
 * replica that has it. A hub that runs alone asks nobody.
 */
export class FleetDirectory implements NodeDirectory {
  readonly #local: LocalNodes;
  readonly #ownership: FleetDirectoryComponents['ownership'];
  readonly #calls: ReplicaCalls;

  constructor({ local, ownership, calls }: FleetDirectoryComponents) {
    this.#local = local;
    this.#ownership = ownership;
    this.#calls = calls;
    calls.serve('nodes.list', () => local.list());
    calls.serve('nodes.get', (payload) => {
      const info = local.get(readQuestion(payload).node);
      return info ? [info] : [];
    });
    calls.serve('nodes.disconnect', (payload) => {
      const { node, reason } = readQuestion(payload);
      return [local.disconnect(node, reason)];
    });
  }

  async list(signal?: AbortSignal): Promise<NodeListing> {
    const parts = { ownership: this.#ownership, calls: this.#calls };
    const { items, unanswered } = await gather(parts, 'nodes.list', { own: this.#local.list(), signal });
    return { items: newestOfEach(items), unanswered };
  }

  async get(node: string, signal?: AbortSignal): Promise<NodeInfo | undefined> {
    const elsewhere = await this.#elsewhere(node);
    if (!elsewhere) return this.#local.get(node);
    const [info] = await this.#calls.ask(elsewhere, 'nodes.get', { node }, { signal });
    return info as NodeInfo | undefined;
  }

  async disconnect(node: string, reason: CloseReason, signal?: AbortSignal): Promise<boolean> {
    const elsewhere = await this.#elsewhere(node);
    if (!elsewhere) return this.#local.disconnect(node, reason);
    const question = { node, reason: reason.name };
    const [done] = await this.#calls.ask(elsewhere, 'nodes.disconnect', question, { signal });
    return done === true;
  }

  send(request: SendRequest): Promise<SendResult> {
    return this.#local.send(request);
  }

  /**
   * The other replica that has the node; undefined when it is here or nowhere. A session here is enough: it
   * ends by itself when it is not ours.
   */
  async #elsewhere(node: string): Promise<NodeOwner | undefined> {
    if (this.#local.get(node)) return undefined;
    const owner = await this.#ownership.owner(node);
    return owner?.run === this.#ownership.self.run ? undefined : owner;
  }
}

/** A node that moves while the replicas are asked is told by both; the later session counts. */
function newestOfEach(items: readonly NodeInfo[]): NodeInfo[] {
  const newest = new Map<string, NodeInfo>();
  for (const item of items) {
    const known = newest.get(item.node);
    if (!known || known.connectedSince < item.connectedSince) newest.set(item.node, item);
  }
  return [...newest.values()];
}

/**
 * What another replica asked: of our own code, and parsed all the same, because everybody on the bus could
 * have sent it.
 */
function readQuestion(payload: unknown): { node: string; reason: CloseReason } {
  const { node, reason } = (payload ?? {}) as { node?: unknown; reason?: unknown };
  const name: CloseReasonName =
    typeof reason === 'string' && Object.hasOwn(CLOSE_REASONS, reason)
      ? (reason as CloseReasonName)
      : 'Disconnected';
  return { node: isNodeName(node) ? node : '', reason: closeReason(name) };
}
