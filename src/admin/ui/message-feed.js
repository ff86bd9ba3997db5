/** @import { FollowCallbacks, MessageFilter, MessageRow, MessageView } from './types.js' */

/** Rows that are kept. Older ones are dropped, and counted. */
export const KEPT = 200;
/** The list changes this often at most, milliseconds. */
export const CALM_MS = 250;
/** Characters of one event that are kept. */
export const KEPT_TEXT = 32_768;

/** @type {MessageView} */
const NOTHING = { problem: '', rows: [], dropped: 0, isHeld: false, waiting: 0 };

/** Kinds of event by what a person chooses. @type {Record<MessageFilter['kind'], readonly string[]>} */
const KINDS = { all: [], messages: ['message'], sessions: ['connected', 'disconnected'] };

const DIRECTIONS = /** @type {const} */ ({
  both: ['upstream', 'downstream'],
  upstream: ['upstream'],
  downstream: ['downstream'],
});

/**
 * What nodes send and are sent, as it happens: the same stream as `sallyport watch`, held open only while
 * somebody follows. Whatever the rate, it holds a bounded number of rows, and tells of them a few times a
 * second.
 */
export class MessageFeed {
  #follow;
  #later;
  #end = () => {};
  #listeners = /** @type {Set<() => void>} */ (new Set());
  /** What came since the list changed. */
  #fresh = /** @type {MessageRow[]} */ ([]);
  #dropped = 0;
  #heard = 0;
  #waiting = 0;
  #isDue = false;
  view = NOTHING;

  /**
   * @param {{ follow: (path: string, callbacks: FollowCallbacks) => () => void, later?: (run: () => void, ms:
   * number) => void }} parts
   */
  constructor({ follow, later = (run, ms) => void setTimeout(run, ms) }) {
    this.#follow = follow;
    this.#later = later;
  }

  /** Begins anew, with an empty list. @param {MessageFilter} filter */
  start(filter) {
    this.#end();
    this.#fresh = [];
    this.#dropped = 0;
    this.#waiting = 0;
    this.#show({ ...NOTHING, live: 'connecting' });
    this.#end = this.#follow(pathOf(filter), {
      onState: (live, problem = '') => this.#show({ ...this.view, live, problem }),
      onData: (data) => this.#take(data),
    });
  }

  /** The rows stay to be read. */
  stop() {
    this.#end();
    this.hold(false);
    const { live, ...rest } = this.view;
    this.#show({ ...rest, problem: '' });
  }

  /** Holds the list still while more comes. @param {boolean} isHeld */
  hold(isHeld) {
    this.view = { ...this.view, isHeld };
    this.#draw();
  }

  /** @param {() => void} listener */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** @param {string} data */
  #take(data) {
    this.#fresh.push(rowOf(data, this.#heard++));
    this.#waiting++;
    if (this.#fresh.length > KEPT) {
      this.#fresh.shift();
      this.#dropped++;
    }
    if (this.#isDue) return;
    this.#isDue = true;
    this.#later(() => {
      this.#isDue = false;
      this.#draw();
    }, CALM_MS);
  }

  #draw() {
    if (this.view.isHeld) return this.#show({ ...this.view, waiting: this.#waiting });
    const all = [...this.view.rows, ...this.#fresh];
    this.#fresh = [];
    this.#waiting = 0;
    this.#dropped += Math.max(0, all.length - KEPT);
    this.#show({ ...this.view, rows: all.slice(-KEPT), dropped: this.#dropped, waiting: 0 });
  }

  /** @param {MessageView} view */
  #show(view) {
    this.view = view;
    for (const listener of this.#listeners) listener();
  }
}

/** @param {MessageFilter} filter */
export function pathOf({ node, kind, direction = 'upstream', operation, resource }) {
  const query = new URLSearchParams(KINDS[kind].map((type) => ['type', type]));
  for (const one of DIRECTIONS[direction]) query.append('direction', one);
  for (const [name, value] of Object.entries({ node, operation, resourcePrefix: resource }))
    if (value !== '') query.set(name, value);
  return `/api/v1/events?${query}`;
}

/** @param {string} data @param {number} number @returns {MessageRow} */
function rowOf(data, number) {
  const event = JSON.parse(data);
  const isCut = data.length > KEPT_TEXT;
  return {
    number,
    at: Date.now(),
    kind: event.type,
    ...(event.type === 'message' ? { direction: event.direction } : {}),
    node: event.node ?? '',
    what: whatOf(event),
    ...(event.bytes === undefined ? {} : { bytes: event.bytes }),
    text: ownCopy(isCut ? data.slice(0, KEPT_TEXT) : data),
    isCut,
  };
}

/** @param {any} event */
function whatOf({ type, message, transport, reason, count, direction }) {
  if (type === 'message') return `${message.route.operation ?? ''} ${message.route.resource ?? ''}`.trim();
  if (type === 'connected') return `connected over ${transport}`;
  if (type === 'disconnected') return `disconnected: ${reason}`;
  if (direction === 'downstream') return 'What nodes were sent meanwhile was not kept.';
  return count === undefined ? 'Events may have been missed here.' : `${count} events were missed here.`;
}

/** A piece of a string keeps the whole of it in memory, here all that came with it. @param {string} piece */
const ownCopy = (piece) => new TextDecoder().decode(new TextEncoder().encode(piece));

/**
 * The rows in which each of the words is, whatever their case.
 * @param {readonly MessageRow[]} rows
 * @param {string} search
 */
export function findRows(rows, search) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return rows;
  return rows.filter(({ node, what, text }) => {
    const all = `${node} ${what} ${text}`.toLowerCase();
    return words.every((word) => all.includes(word));
  });
}

/**
 * Laid out for reading, with every number as it was written. As it is, where the browser could not keep them.
 * @param {Pick<MessageRow, 'text' | 'isCut'>} row
 */
export function laidOut({ text, isCut }) {
  const { rawJSON } = /** @type {any} */ (JSON);
  if (isCut || !rawJSON) return text;
  const exact = (
    /** @type {string} */ _,
    /** @type {unknown} */ value,
    /** @type {any} */ { source } = {},
  ) => (typeof value === 'number' ? rawJSON(source) : value);
  return JSON.stringify(JSON.parse(text, exact), null, 2);
}
