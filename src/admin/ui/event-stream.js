import { toAnswer } from './api.js';
import { credentials } from './session.js';

/** @import { FollowCallbacks } from './types.js' */

/** After an interruption it is tried again this much later, milliseconds. */
const AGAIN_MS = 3_000;

/**
 * Follows Server-Sent Events while the page is seen, and goes on after the last one when it was hidden or
 * interrupted; the gateway tells when that was too long ago. The browser's own EventSource can send no
 * header, and the proxy of `sallyport dashboard` wants one.
 * @param {string} path
 * @param {FollowCallbacks} callbacks not called any more once it was ended
 * @returns {() => void} ends it
 */
export function followEvents(path, callbacks) {
  const ended = new AbortController();
  void follow(path, callbacks, ended.signal);
  return () => ended.abort();
}

/**
 * @param {string} path
 * @param {FollowCallbacks} callbacks
 * @param {AbortSignal} ended
 */
async function follow(path, { onState, onData }, ended) {
  let lastId = '';
  let connection = new AbortController();
  let goOn = () => {};
  const look = () => (document.hidden ? connection.abort() : goOn());
  document.addEventListener('visibilitychange', look, { signal: ended });
  while (!ended.aborted) {
    if (document.hidden) {
      onState('paused');
      await new Promise((resolve) => {
        goOn = () => resolve(undefined);
      });
      continue;
    }
    connection = new AbortController();
    const signal = AbortSignal.any([ended, connection.signal]);
    let problem = '';
    try {
      const headers = { ...credentials, accept: 'text/event-stream', 'last-event-id': lastId };
      const answer = await fetch(path, { headers, signal, cache: 'no-store' });
      if (answer.ok && answer.body) {
        onState('live');
        for await (const { id, data } of eventsOf(answer.body)) {
          if (signal.aborted) break;
          if (id !== undefined) lastId = id;
          if (data !== undefined) onData(data);
        }
      } else {
        const refused = await toAnswer(answer);
        if (refused.kind === 'failed') ({ problem } = refused);
      }
    } catch {
      // Said below.
    }
    if (signal.aborted) continue;
    onState('interrupted', problem);
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

/** @param {ReadableStream<Uint8Array>} body */
async function* eventsOf(body) {
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  let buffer = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    buffer += value;
    const blocks = buffer.split('\n\n');
    buffer = blocks.pop() ?? '';
    for (const block of blocks) {
      const field = (/** @type {string} */ name) => new RegExp(`^${name}: ?(.*)$`, 'm').exec(block)?.[1];
      yield { id: field('id'), data: field('data') };
    }
  }
}
