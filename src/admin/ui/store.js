import { read } from './api.js';
import { parseChecks } from './checks.js';
import { LiveNodes } from './live-nodes.js';
import { playRole } from './session.js';

/** @import { Data, Info, Live, Node, Resource, Snapshot } from './types.js' */

/**
 * What is read, how often (milliseconds), and how the answer becomes the value. Every route but the first may
 * be missing in an older gateway.
 */
const items = (/** @type {{ items: unknown[] }} */ answer) => answer.items;
const SOURCES = /** @type {const} */ ({
  info: { path: '/api/v1/info', everyMs: 5_000 },
  checks: { path: '/readyz?verbose', everyMs: 5_000, value: parseChecks },
  certificates: { path: '/api/v1/certificates', everyMs: 5_000 },
  nodes: { path: '/api/v1/nodes', everyMs: 30_000, value: items },
  rejections: { path: '/api/v1/rejections?limit=1000', everyMs: 5_000, value: items },
  served: { path: '/api/v1/certificates/served', everyMs: 10_000, value: items },
  rollover: { path: '/api/v1/ca/rollover', everyMs: 10_000 },
  revocations: { path: '/api/v1/revocations', everyMs: 10_000, value: items },
  forecast: { path: '/api/v1/nodes/forecast', everyMs: 30_000, value: items },
});
/** A route that this gateway does not have may come with its next version. */
const MISSING_MS = 60_000;

/** Everything the page shows. Reads at a calm rate while the page is seen, and nodes as they come and go. */
export class Store {
  #data = /** @type {Data} */ (
    /** @type {unknown} */ (
      Object.fromEntries(Object.keys(SOURCES).map((name) => [name, { state: 'loading' }]))
    )
  );
  #live = /** @type {Live} */ ('connecting');
  #updatedAt = 0;
  /** Hub's clock minus the browser's. */
  #skewMs = 0;
  #listeners = /** @type {Set<() => void>} */ (new Set());
  #timers = /** @type {Map<string, number>} */ (new Map());
  /** The latest reading of each: an answer to an earlier one is older news. */
  #latest = /** @type {Map<string, symbol>} */ (new Map());
  #nodes = new LiveNodes({
    onState: (state) => {
      this.#live = state;
      this.#changed();
    },
    onChange: (change) => this.#patchNodes(change),
    onMany: () => void this.#load('nodes'),
  });

  start() {
    document.addEventListener('visibilitychange', () => this.#look());
    this.#look();
    this.#nodes.start();
  }

  /** @returns {Snapshot} */
  snapshot() {
    return {
      data: this.#data,
      live: this.#live,
      now: Date.now() + this.#skewMs,
      updatedAt: this.#updatedAt,
    };
  }

  /** @param {() => void} listener */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** After something was changed. */
  refresh() {
    for (const name of Object.keys(SOURCES)) void this.#load(/** @type {keyof Data} */ (name));
  }

  #look() {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    if (!document.hidden) this.refresh();
  }

  /** @param {keyof Data} name */
  async #load(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
    const { path, everyMs, ...rest } = SOURCES[name];
    const before = this.#data[name];
    const reading = Symbol(name);
    this.#latest.set(name, reading);
    const answer = await read(path);
    if (this.#latest.get(name) !== reading) return;
    /** @type {Resource<unknown>} */
    let next;
    if (answer.kind === 'missing') next = { state: 'missing' };
    else if (answer.kind === 'failed')
      next = {
        state: 'failed',
        problem: answer.problem,
        ...('value' in before ? { value: before.value } : {}),
      };
    else {
      const value =
        'value' in rest ? /** @type {(body: any) => unknown} */ (rest.value)(answer.body) : answer.body;
      next = { state: 'ready', value };
      this.#updatedAt = Date.now();
      if (name === 'info') this.#learn(/** @type {Info} */ (value));
    }
    this.#data = /** @type {Data} */ ({ ...this.#data, [name]: next });
    this.#changed();
    if (document.hidden) return;
    const waitMs = next.state === 'missing' ? MISSING_MS : everyMs;
    this.#timers.set(
      name,
      window.setTimeout(() => void this.#load(name), waitMs),
    );
  }

  /** @param {Info} info */
  #learn({ now, caller }) {
    this.#skewMs = Date.parse(now) - Date.now();
    playRole(caller.role);
  }

  /** @param {{ node: string, value?: Node }} change `value` is undefined when the node has gone */
  #patchNodes({ node, value }) {
    const { nodes } = this.#data;
    if (nodes.state !== 'ready') return;
    const others = nodes.value.filter((one) => one.node !== node);
    const next = value ? [...others, value] : others;
    this.#data = { ...this.#data, nodes: { state: 'ready', value: next } };
    this.#updatedAt = Date.now();
    this.#changed();
  }

  #changed() {
    for (const listener of this.#listeners) listener();
  }
}
