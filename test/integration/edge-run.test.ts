import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { closeReason } from '../../src/protocol/close-reasons.ts';
import { MiniHub } from '../support/edges/mini-hub.ts';
import { type Finished, type RunOptions, sallyport } from '../support/fleets/process.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

let folder: string;
let hub: MiniHub;
beforeEach(async () => {
  folder = temporaryFolder();
  hub = await MiniHub.start();
});
afterEach(() => hub[Symbol.asyncDispose]());

/** Runs until it ends; `until` says at which line it gets the signal. */
function edgeRun(
  until?: (line: string) => boolean,
  more: readonly string[] = [],
  options: RunOptions = {},
): Promise<Finished> {
  const signal = new AbortController();
  const port = hub.address.split(':')[1]!;
  return sallyport(
    [
      ...['edge', 'run', '--node', 'edge-1', '--hub', hub.address, '--transport', 'websocket'],
      ...['--directory', join(folder, 'edge-1'), '--set', `websocket.port=${port}`, ...more],
    ],
    {
      ...options,
      interrupted: signal.signal,
      onSaid: (line) => until?.(line) && signal.abort(new Error('stopped by a signal')),
    },
  );
}

const withToken = () => ['--token', hub.token];

describe('edge run', () => {
  test('V2: ends at the first signal while the hub lets it wait to join', async () => {
    hub.refuseEnrolment = { status: 429, text: 'too many requests', headers: { 'Retry-After': '3600' } };
    const { code, stderr } = await edgeRun((line) => line.includes('waiting'), withToken());
    expect([code, stderr]).toEqual([
      0,
      expect.stringMatching(/waiting: too many requests; again in 36\d\d s/),
    ]);
  });

  test('V2: ends at the first signal while it tries to reach a hub, and while it is connected', async () => {
    const connected = await edgeRun((line) => line.includes('connected'), withToken());
    expect([connected.code, connected.stderr]).toEqual([0, expect.stringContaining('bye')]);
    hub.refuseConnect = { status: 503, text: 'the hub is at its limit' };
    const trying = await edgeRun((line) => line.includes('error'));
    expect([trying.code, trying.stderr]).toEqual([0, expect.stringContaining('the hub is at its limit')]);
  });

  test('V2: ends at the first signal after the link was lost, with a message that nobody acknowledged', async () => {
    hub.acknowledge = 'never';
    const { code } = await edgeRun((line) => {
      if (line.includes(' connected')) {
        hub.refuseConnect = { status: 503 };
        hub.drop();
      }
      return line.includes('disconnected');
    }, withToken());
    expect(code).toBe(0);
  });

  test('V2: ends with 1 when the hub says never, before there is a session and after, and says what to do', async () => {
    const during = await edgeRun((line) => {
      if (line.includes(' connected')) hub.closeWith(closeReason('Revoked'));
      return false;
    }, withToken());
    hub.refuseConnect = { status: 403, headers: { 'Sallyport-Reason': 'revoked' } };
    for (const { code, stderr } of [during, await edgeRun()]) {
      expect([code, stderr]).toEqual([1, expect.stringContaining('not trying again')]);
      expect(stderr).toContain('`sallyport lift NODE` lets it in again');
      expect(stderr).toContain('[SHUT_OUT]');
    }
  });

  test('V2: tells of a typed line that is larger than the largest message, and sends the next one', async () => {
    const { code, stderr } = await edgeRun((line) => line.includes('acknowledged'), withToken(), {
      input: `${'x'.repeat(16 * 1024 * 1024 + 1)}\nhello\n`,
    });
    expect([code, stderr]).toEqual([
      0,
      expect.stringContaining('not sent: a line is longer than 16777216 bytes'),
    ]);
  });

  test('a refused token is final, and the remedy is that of the hub', async () => {
    const headers = { 'Sallyport-Reason': 'token-used' };
    hub.refuseEnrolment = { status: 401, text: 'the token has been used already', headers };
    const { code, stderr } = await edgeRun(undefined, withToken());
    expect(code).toBe(1);
    expect(stderr).toContain('the token has been used already');
    expect(stderr).toContain('create a new token; a node token works once');
    expect(existsSync(join(folder, 'edge-1'))).toBe(false);
  });

  test.each(['https://hub', 'hub:0', 'hub:70000', '::1:', 'hub/path'])(
    '--hub %s is a usage error that names the form',
    async (given) => {
      const { code, stderr } = await sallyport(['edge', 'run', '--node', 'edge-1', '--hub', given]);
      expect([code, stderr]).toEqual([2, expect.stringContaining('HOST:PORT')]);
    },
  );
});
