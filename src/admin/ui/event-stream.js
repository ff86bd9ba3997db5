import { credentials } from './session.js';

/** After an interruption it is tried again this much later, milliseconds. */
const AGAIN_MS = 3_000;

/**
 * Follows Server-Sent Events, and goes on after the last one when it is interrupted. The browser's own
 * EventSource can send no header, and the proxy of `sallyport dashboard` wants one.
 * @param {string} path
 * @param {{ onOpen: () => void, onData: (data: string) => void, onInterrupted: () => void }} callbacks
 * @returns {() => void} ends it
 */
export function followEvents(path, callbacks) {
  const stopped = new AbortController();
  void follow(path, callbacks, stopped.signal);
  return () => stopped.abort();
}

/**
 * @param {string} path
 * @param {{ onOpen: () => void, onData: (data: string) => void, onInterrupted: () => void }} callbacks
 * @param {AbortSignal} signal
 */
async function follow(path, { onOpen, onData, onInterrupted }, signal) {
  let lastId = '';
  while (!signal.aborted) {
    try {
      const headers = { ...credentials, accept: 'text/event-stream', 'last-event-id': lastId };
      const answer = await fetch(path, { headers, signal, cache: 'no-store' });
      if (answer.ok && answer.body) {
        onOpen();
        for await (const { id, data } of eventsOf(answer.body)) {
          if (id !== undefined) lastId = id;
          if (data !== undefined) onData(data);
        }
      }
    } catch {
      // Said below.
    }
    if (signal.aborted) return;
    onInterrupted();
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
