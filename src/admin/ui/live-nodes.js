import { read } from './api.js';
import { followEvents } from './event-stream.js';

/** @import { Live, Node } from './types.js' */

/** More than this within a moment is read as one list. */
const MANY = 10;
const MOMENT_MS = 1_000;
/** After a storm of reconnects the list is read this often at most. */
const CALM_MS = 3_000;

/** Nodes as they come and go, by Server-Sent Events of this replica. */
export class LiveNodes {
  #callbacks;
  #stop = /** @type {(() => void) | undefined} */ (undefined);
  #recent = /** @type {number[]} */ ([]);
  #reload = 0;

  /**
   * @param {{ onState: (state: Live) => void, onChange: (change: { node: string, value?: Node }) => void,
   * onMany: () => void }} callbacks `onMany`: so many came or went that the list is to be read anew
   */
  constructor(callbacks) {
    this.#callbacks = callbacks;
  }

  start() {
    if (this.#stop) return;
    this.#callbacks.onState('connecting');
    this.#stop = followEvents('/api/v1/events?type=connected&type=disconnected', {
      onOpen: () => this.#callbacks.onState('live'),
      onInterrupted: () => this.#callbacks.onState('interrupted'),
      onData: (data) => void this.#heard(JSON.parse(data)),
    });
  }

  stop() {
    this.#stop?.();
    this.#stop = undefined;
    this.#callbacks.onState('paused');
  }

  /** @param {{ type: string, node: string }} event */
  async #heard({ type, node }) {
    const now = Date.now();
    this.#recent = [...this.#recent.filter((at) => now - at < MOMENT_MS), now];
    if (this.#recent.length > MANY) {
      this.#reload ||= window.setTimeout(() => {
        this.#reload = 0;
        this.#callbacks.onMany();
      }, CALM_MS);
      return;
    }
    if (type === 'disconnected') {
      // A node that was taken over is still here.
      const answer = await read(`/api/v1/nodes/${encodeURIComponent(node)}`);
      this.#callbacks.onChange(answer.kind === 'ok' ? { node, value: answer.body } : { node });
      return;
    }
    const answer = await read(`/api/v1/nodes/${encodeURIComponent(node)}`);
    if (answer.kind === 'ok') this.#callbacks.onChange({ node, value: answer.body });
  }
}
