/** @typedef {{ kind: 'ok', body: any } | { kind: 'missing' } | { kind: 'failed', problem: string }} Answer */

const TIMEOUT_MS = 10_000;

/**
 * Reads one route. 404 means that this gateway has none; a probe's 500 is an answer.
 * @param {string} path
 * @returns {Promise<Answer>}
 */
export async function read(path) {
  try {
    const answer = await fetch(path, { signal: AbortSignal.timeout(TIMEOUT_MS), cache: 'no-store' });
    if (answer.status === 404) return { kind: 'missing' };
    const isText = !answer.headers.get('content-type')?.includes('json');
    if (isText) return { kind: 'ok', body: await answer.text() };
    const body = await answer.json();
    if (answer.ok) return { kind: 'ok', body };
    return { kind: 'failed', problem: body.error?.message ?? `status ${answer.status}` };
  } catch {
    return { kind: 'failed', problem: 'the gateway does not answer' };
  }
}
