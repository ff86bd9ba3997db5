import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkFromEdge } from '../../src/cli/commands/doctor.ts';
import type { EdgeTargetOptions } from '../../src/cli/doctor/edge-target.ts';
import { exitCodeOf } from '../../src/cli/doctor/view.ts';
import { processTerminal } from '../../src/cli/terminal.ts';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { sallyportProcess } from '../support/fleets/process.ts';
import { readCa } from '../support/fleets/secret-files.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';
import { freePort } from '../support/free-port.ts';
import { mintCa, mintEdge } from '../support/pki/pki.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

let hub: TestGateway;
let folder: string;
beforeAll(async () => {
  folder = temporaryFolder();
  hub = await startTestGateway({
    settings: { 'quic.enabled': 'true', 'https.host': '0.0.0.0', 'websocket.host': '0.0.0.0' },
  });
});
afterAll(() => hub[Symbol.asyncDispose]());

async function ask(
  more: EdgeTargetOptions = {},
  { host = 'localhost', ...pair }: { host?: string; cert?: string; key?: string } = {},
) {
  const target = {
    fromEdge: `${host}:${hub.port('https')}`,
    websocketPort: String(hub.port('websocket')),
    quicPort: String(hub.port('quic')),
    ...more,
  };
  const all = await checkFromEdge(processTerminal(), target, pair);
  const of = (check: string) => all.filter((one) => one.check === check);
  const trouble = all.filter(({ status }) => status === 'warning' || status === 'failure');
  return { code: exitCodeOf(all), all, of, trouble };
}

describe('on the side of the edge', () => {
  test('all is well: DNS, TCP, UDP, TLS, names, the CA of the token, clock, and the certificate is accepted', async () => {
    const token = await hub.nodeToken('edge-1');
    const options = hub.edgeOptions('edge-1');
    const client = await EdgeClient.join({ ...options, token });
    await client.close();
    const tokenFile = join(folder, 'token');
    writeFileSync(tokenFile, `${token}\n`);
    const { code, all, of, trouble } = await ask({ state: options.directory, tokenFile });
    expect([code, trouble]).toEqual([0, []]);
    for (const check of [
      'edge-dns',
      'edge-tcp',
      'edge-udp',
      'edge-tls',
      'edge-names',
      'edge-ca',
      'edge-chain',
    ])
      expect(of(check).map(({ status }) => status)).toContain('ok');
    for (const check of ['edge-clock', 'edge-certificate', 'edge-accepted'])
      expect(of(check).map(({ status }) => status)).toEqual(['ok']);
    expect(JSON.stringify(all)).not.toContain(token.split('.')[1]);
  });

  test('another CA than the token names', async () => {
    const { code, trouble } = await ask({ caHash: 'ab'.repeat(32) });
    expect([code, trouble.map(({ check }) => check)]).toEqual([2, ['edge-ca']]);
    expect(trouble[0]!.detail).toContain(`expected is ${'ab'.repeat(32)}`);
  });

  test('UDP does not get through: a warning that says to use WebSocket', async () => {
    const { code, trouble } = await ask({ quicPort: String(await freePort()) });
    expect([code, trouble.map(({ check, status }) => [check, status])]).toEqual([
      1,
      [['edge-udp', 'warning']],
    ]);
    expect(trouble[0]!.hint).toContain('use WebSocket');
  });

  test('an address the hub certificate does not name', async () => {
    const { code, of } = await ask({}, { host: '127.0.0.2' });
    expect([code, of('edge-names')]).toMatchObject([2, [{ status: 'failure' }]]);
    expect(of('edge-names')[0]!.detail).toContain('DNS:localhost');
  });

  test('nothing listens; no such name', async () => {
    const closed = String(await freePort());
    const { code, stdout } = await sallyportProcess(
      ['doctor', '--from-edge', `localhost:${closed}`, '--websocket-port', closed, '--quic-port', closed],
      { cwd: folder },
    );
    expect(code).toBe(2);
    expect(stdout).toMatch(/× TCP \S+ port \d+ is closed \(HTTPS: enrolment\)\n +refused: nothing listens/);
    const nowhere = await ask({ fromEdge: 'hub.invalid' });
    expect(nowhere.trouble).toMatchObject([{ check: 'edge-dns', title: 'hub.invalid does not resolve' }]);
    await expect(ask({ fromEdge: 'hub:port' })).rejects.toThrow('HOST:PORT');
    const secret = { caHash: 'hunter2-is-no-hash' };
    await expect(ask(secret)).rejects.toThrow('is not a SHA-256');
    await expect(ask(secret)).rejects.not.toThrow('hunter2');
  });

  test('F3: the certificate of the node: expired, and of a CA that the hub does not trust', async () => {
    const write = (name: string, pem: string) => {
      const path = join(folder, name);
      writeFileSync(path, pem);
      return path;
    };
    const day = (days: number) => new Date(Date.now() + days * 86_400_000);
    const old = await mintEdge(readCa(hub.folder), 'edge-2', { notBefore: day(-30), notAfter: day(-3) });
    const expired = await ask({}, { cert: write('old.crt', old.pem), key: write('old.key', old.key) });
    expect([expired.code, expired.trouble.map(({ check }) => check)]).toEqual([
      2,
      ['edge-certificate', 'edge-accepted'],
    ]);
    expect(expired.trouble[1]).toMatchObject({
      title: 'the hub refuses the certificate of the node: expired',
      detail: expect.stringContaining('expired 3 days ago'),
    });
    const alien = await mintEdge(await mintCa(), 'edge-2');
    const strange = await ask({}, { cert: write('new.crt', alien.pem), key: write('new.key', alien.key) });
    expect(strange.trouble).toMatchObject([
      {
        check: 'edge-accepted',
        title: 'the hub refuses the certificate of the node: unknown-ca',
        detail: expect.stringContaining(`it expects ${hub.gateway.ready().caSha256}`),
      },
    ]);
  });
});
