import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { closeReason } from '../../src/protocol/close-reasons.ts';
import { createRenewRequest } from '../../src/protocol/renew-request.ts';
import { MiniHub } from '../support/edges/mini-hub.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const PYTHON = process.env.PYTHON ?? 'python3';
const RESOURCE = 'default/thermostat/living-room';

let folder: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

interface PythonEdge {
  readonly child: ChildProcess;
  /** Resolves when a line with this text was printed, after what was awaited before. */
  says(text: string): Promise<void>;
  /** Exit code. */
  readonly ended: Promise<number | null>;
}

function startEdge(ports: { https: string; websocket: string }, ...more: readonly string[]): PythonEdge {
  const child = spawn(PYTHON, [
    'examples/python-edge/edge.py',
    ...['--https-port', ports.https, '--websocket-port', ports.websocket],
    ...['--directory', join(folder, 'edge-1'), '--period', '0.05', ...more],
  ]);
  children.push(child);
  let said = '';
  let read = 0;
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      said += chunk;
    });
  const ended = once(child, 'close').then(([code]) => code as number | null);
  let hasEnded = false;
  void ended.then(() => {
    hasEnded = true;
  });
  return {
    child,
    ended,
    says: (text) =>
      eventually(`it says ${text}`, () => {
        const at = said.indexOf(text, read);
        if (at < 0 && hasEnded) throw new Error(`it ended without saying ${text}: ${said}`);
        if (at >= 0) read = at + text.length;
        return at >= 0;
      }),
  };
}

const portsOf = (hub: TestGateway) => ({
  https: String(hub.port('https')),
  websocket: String(hub.port('websocket')),
});
const send = (hub: TestGateway, operation: string, content: unknown, resource = RESOURCE) =>
  hub.admin.post<{ kind: string }>('/api/v1/nodes/edge-1/messages', {
    ...{ resource, operation, content, wait: 'ack' },
  });

test('V3: joins a gateway, is acknowledged, obeys, refuses, renews, comes back without a token, ends when revoked', async () => {
  await using hub = await startTestGateway();
  const first = startEdge(portsOf(hub), '--token', await hub.nodeToken('edge-1'));
  await first.says('joined');
  await first.says('acknowledged');
  expect(await send(hub, 'update', { target: 30 })).toMatchObject({ kind: 'acknowledged' });
  await first.says('target set to 30');
  expect(await send(hub, 'update', {}, 'default/door/front')).toMatchObject({ kind: 'rejected' });
  first.child.kill('SIGTERM');
  expect(await first.ended).toBe(0);
  const pair = join(folder, 'edge-1', 'node.pem');
  const before = readFileSync(pair, 'utf8');
  expect(statSync(pair).mode & 0o777).toBe(0o600);

  const second = startEdge(portsOf(hub), '--renew');
  await second.says('renewed');
  await second.says('acknowledged');
  expect(readFileSync(pair, 'utf8')).not.toBe(before);
  await hub.admin.post('/api/v1/revocations', { node: 'edge-1', reason: 'keyCompromise' });
  await second.says('4413 Revoked');
  expect(await second.ended).toBe(1);
  const third = startEdge(portsOf(hub));
  await third.says('refused: 403 revoked');
  expect(await third.ended).toBe(1);
});

test('V3: waits for a busy hub and through a quarantine, renews when the hub asks, and comes back after a close', async () => {
  await using hub = await MiniHub.start({ names: ['localhost'] });
  const port = hub.address.split(':')[1]!;
  hub.refuseEnrolment = { status: 429, text: 'too many requests', headers: { 'Retry-After': '1' } };
  const edge = startEdge({ https: port, websocket: port }, '--token', hub.token);
  await edge.says('too many requests');
  const headers = { 'Sallyport-Reason': 'quarantined' };
  hub.refuseEnrolment = { status: 403, text: 'node edge-1 is quarantined', headers };
  await edge.says('node edge-1 is quarantined');
  hub.refuseEnrolment = undefined;
  await edge.says('acknowledged');
  const [present] = hub.sessions;
  const serial = (present!.request.socket as TLSSocket).getPeerX509Certificate()!.serialNumber;
  hub.write(createRenewRequest({ reason: 'ca-rollover', serial, withinMs: 100 }, { now: Date.now() }));
  await edge.says('renewed');
  // The old connection may have had an acknowledgement on its way.
  await eventually(
    'it is back with another certificate',
    () => hub.session.fingerprint !== present!.fingerprint,
  );
  await edge.says('acknowledged');
  hub.closeWith(closeReason('Draining', 50));
  await edge.says('disconnected: 1012 Draining');
  await edge.says('acknowledged');
});
