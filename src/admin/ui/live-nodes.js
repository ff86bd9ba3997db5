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
  #recent = /** @type {number[]} */ ([]);
  #reload = 0;

  /**
   * @param {{ onState: (state: Live) => void, onChange: (change: { node: string, value?: Node }) => void,
   * onMany: () => void }} callbacks `onMany`: so many came or went, or were missed, that
   * the list is to be read anew
   */
  constructor(callbacks) {
    this.#callbacks = callbacks;
  }

  start() {
    followEvents('/api/v1/events?type=connected&type=disconnected', {
      onState: this.#callbacks.onState,
      onData: (data) => void this.#heard(JSON.parse(data)),
    });
  }

  /** @param {{ type: string, node: string }} event */
  async #heard({ type, node }) {
    const now = Date.now();
    this.#recent = [...this.#recent.filter((at) => now - at < MOMENT_MS), now];
    if (this.#recent.length > MANY || type === 'missed') {
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
