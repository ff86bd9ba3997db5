import { credentials } from './session.js';

/** @typedef {{ kind: 'ok', body: any } | { kind: 'missing' } | { kind: 'failed', problem: string }} Answer */

const TIMEOUT_MS = 10_000;
/** A step of a rollover tries the new certificates first. */
const CHANGE_TIMEOUT_MS = 60_000;

/**
 * Reads one route. 404 means that this gateway has none; a probe's 500 is an answer.
 * @param {string} path
 * @returns {Promise<Answer>}
 */
export async function read(path) {
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const answer = await fetch(path, { signal, cache: 'no-store', headers: credentials });
    if (answer.status === 404) return { kind: 'missing' };
    return await toAnswer(answer);
  } catch {
    return { kind: 'failed', problem: 'the gateway does not answer' };
  }
}

/**
 * Changes something. The reason is for the audit.
 * @param {string} path
 * @param {{ body?: object, reason: string }} wish
 * @returns {Promise<Answer>}
 */
export async function change(path, { body = {}, reason }) {
  try {
    const answer = await fetch(path, {
      method: 'POST',
      signal: AbortSignal.timeout(CHANGE_TIMEOUT_MS),
      headers: {
        ...credentials,
        'content-type': 'application/json',
        'sallyport-reason': encodeURIComponent(reason),
      },
      body: JSON.stringify(body),
    });
    return answer.status === 204 ? { kind: 'ok', body: undefined } : await toAnswer(answer);
  } catch {
    return { kind: 'failed', problem: 'the gateway does not answer; look whether it was done' };
  }
}

/** What an answer says, one that refuses too. @param {Response} answer @returns {Promise<Answer>} */
export async function toAnswer(answer) {
  const isText = !answer.headers.get('content-type')?.includes('json');
  if (isText) return { kind: 'ok', body: await answer.text() };
  const body = await answer.json();
  if (answer.ok) return { kind: 'ok', body };
  return { kind: 'failed', problem: body.error?.message ?? `status ${answer.status}` };
}
