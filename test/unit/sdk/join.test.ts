import {
  chmod,
  lutimes,
  mkdir,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ERRORS } from '../../../src/core/error-table.ts';
import type { SallyportError } from '../../../src/core/errors.ts';
import { RateLimiter } from '../../../src/listeners/https/rate-limiter.ts';
import { CredentialStore } from '../../../src/sdk/credential-store.ts';
import { EdgeClient } from '../../../src/sdk/edge-client.ts';
import { parseJoinToken } from '../../../src/sdk/enrolment.ts';
import type { EdgeCredentials } from '../../../src/sdk/transports/transport.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { captureLog } from '../../support/capture-log.ts';
import { MiniHub, type ScriptedRefusal } from '../../support/edges/mini-hub.ts';
import { TcpRelay } from '../../support/edges/tcp-relay.ts';
import { mintCa, mintEdge } from '../../support/pki/pki.ts';
import { whileAdvancing } from '../../support/while-advancing.ts';
import { EdgeFixture } from './edge-fixture.ts';

async function credentialsOf(node: string): Promise<EdgeCredentials> {
  const ca = await mintCa();
  const pair = await mintEdge(ca, node);
  return { node, ca: ca.pem, certificate: pair.pem, key: pair.key };
}

test('joins with a token: sends the JWT without the CA hash, the node name, and keeps what it got', async () => {
  await using edge = await EdgeFixture.start();
  const { jwt } = edge.hub;
  const client = await edge.join();
  expect(edge.hub.enrolments).toHaveLength(1);
  expect(edge.hub.enrolments[0]!.headers).toMatchObject({
    nodename: 'edge-1',
    authorization: `Bearer ${jwt}`,
    'content-length': expect.any(String),
  });
  expect(client.notAfter.getTime()).toBeGreaterThan(Date.now());
  const stored = await new CredentialStore(edge.options.directory).load('edge-1');
  expect(stored!.ca).toBe(edge.hub.ca.pem);
});

test('a node that joined is not joined again with the same token, nor without one', async () => {
  await using edge = await EdgeFixture.start();
  const { token } = edge.hub;
  await edge.join();
  const again = await EdgeClient.join({ ...edge.options, token });
  await again.close();
  const opened = await EdgeClient.open(edge.options);
  await opened.close();
  expect(edge.hub.enrolments).toHaveLength(1);
});

test('CA_MISMATCH when the hub has another CA than the token names, and nothing of the token was sent', async () => {
  await using edge = await EdgeFixture.start();
  const other = await mintCa();
  await expect(
    EdgeClient.join({ ...edge.options, token: `${other.sha256}.${edge.hub.jwt}` }),
  ).rejects.toMatchObject({ code: 'CA_MISMATCH' });
  expect(edge.hub.enrolments).toEqual([]);
});

test('JOIN_REFUSED carries the line of the hub, and never the token', async () => {
  await using edge = await EdgeFixture.start();
  const token = `${edge.hub.ca.sha256}.aaa.bbb.ccc`;
  const error = await EdgeClient.join({ ...edge.options, token }).catch((reason: unknown) => reason);
  expect(error).toMatchObject({
    code: 'JOIN_REFUSED',
    details: { problem: 'the token is not acceptable', status: 401 },
    fix: 'for this answer: do what the hub says',
  });
  expect(JSON.stringify(error) + String(error)).not.toContain('aaa.bbb.ccc');
});

test('JOIN_REFUSED carries the remedy for the word of the hub', async () => {
  await using edge = await EdgeFixture.start();
  const headers = { 'Sallyport-Reason': 'token-used' };
  edge.hub.refuseEnrolment = { status: 401, text: 'this token was used before', headers };
  await expect(edge.join()).rejects.toMatchObject({
    code: 'JOIN_REFUSED',
    fix: `for this answer: ${ERRORS.TOKEN_USED.fix}`,
  });
});

test('V1: a fleet behind one address joins by itself through 429 and Retry-After', async () => {
  const clock = new ManualClock(Date.now());
  const limiter = new RateLimiter(clock, () => ({ perMinutePerSource: 4, perMinute: 1_000 }));
  await using edge = await EdgeFixture.start();
  const { token } = edge.hub;
  Object.defineProperties(edge.hub, {
    // A token for the whole fleet.
    jwt: { get: () => token.slice(65), set: () => {} },
    refuseEnrolment: { get: () => refusalOf(() => limiter.take('198.51.100.7')) },
  });
  const waits: number[] = [];
  const nodes = Array.from({ length: 12 }, (_, index) => `edge-${index}`);
  const joins = nodes.map((node) =>
    EdgeClient.join(
      {
        ...edge.options,
        node,
        directory: join(edge.directory, node),
        // The clock runs, and real handshakes take real time.
        connectTimeoutMs: 2 ** 40,
        token,
        onWait: (delayMs) => waits.push(delayMs),
      },
      { clock },
    ),
  );
  const clients = await whileAdvancing(clock, Promise.all(joins));
  expect(clients.map(({ node }) => node)).toEqual(nodes);
  expect(waits.length).toBeGreaterThanOrEqual(8);
  // Nobody comes before the hub said, and no two come at one moment.
  for (const delayMs of waits) expect(delayMs).toBeGreaterThanOrEqual(1_500);
  expect(new Set(waits).size).toBeGreaterThan(waits.length / 2);
});

test('V1: a join that waits for a busy hub ends with its signal, and waits an hour at most', async () => {
  await using edge = await EdgeFixture.start();
  edge.hub.refuseEnrolment = { status: 429, headers: { 'Retry-After': '999999' } };
  const { token } = edge.hub;
  const abandoned = new AbortController();
  const onWait = (delayMs: number) => {
    expect(delayMs).toBeLessThan(3_660_000);
    abandoned.abort(new Error('enough'));
  };
  await expect(EdgeClient.join({ ...edge.options, token, signal: abandoned.signal, onWait })).rejects.toThrow(
    'enough',
  );
});

function refusalOf(take: () => void): ScriptedRefusal | undefined {
  try {
    take();
    return undefined;
  } catch (error) {
    const { status, message, details } = error as SallyportError;
    const seconds = Math.ceil(Number(details.retryAfterMs) / 1_000);
    return { status, text: message, headers: { 'Retry-After': String(seconds) } };
  }
}

test('V1: a join waits for a hub that cannot be reached, later and later', async () => {
  const clock = new ManualClock(Date.now());
  await using edge = await EdgeFixture.start();
  await using way = await TcpRelay.to(Number(edge.hub.address.split(':')[1]));
  way.cut();
  const waits: (readonly [number, string])[] = [];
  const joining = EdgeClient.join(
    {
      ...edge.options,
      hub: { ...edge.options.hub, https: `localhost:${way.port}` },
      // The clock runs, and real handshakes take real time.
      connectTimeoutMs: 2 ** 40,
      token: edge.hub.token,
      onWait: (...wait) => {
        if (waits.push(wait) === 4) way.mend();
      },
    },
    { clock, random: () => 0.5 },
  );
  const client = await whileAdvancing(clock, joining);
  await client.close();
  expect(waits).toHaveLength(4);
  for (const [, problem] of waits) expect(problem).toContain('cannot connect to https://localhost:');
  const delays = waits.map(([delayMs]) => delayMs);
  expect(delays).toEqual([...delays].sort((a, b) => a - b));
});

test('V5: a join of a quarantined node waits, and goes through when the node is lifted; a revoked one is final', async () => {
  const clock = new ManualClock(Date.now());
  await using edge = await EdgeFixture.start();
  const refuseAs = (word: string): ScriptedRefusal => ({
    status: 403,
    text: `node edge-1 is ${word}`,
    headers: { 'Sallyport-Reason': word },
  });
  edge.hub.refuseEnrolment = refuseAs('quarantined');
  const waits: string[] = [];
  const onWait = (_delayMs: number, problem: string) => {
    if (waits.push(problem) === 2) edge.hub.refuseEnrolment = undefined;
  };
  const options = { ...edge.options, connectTimeoutMs: 2 ** 40, token: edge.hub.token, onWait };
  const client = await whileAdvancing(clock, EdgeClient.join(options, { clock }));
  await client.close();
  expect(waits).toEqual(['node edge-1 is quarantined', 'node edge-1 is quarantined']);

  edge.hub.refuseEnrolment = refuseAs('revoked');
  const revoked = EdgeClient.join({ ...options, directory: join(edge.directory, 'other') }, { clock });
  await expect(revoked).rejects.toMatchObject({ code: 'JOIN_REFUSED', details: { word: 'revoked' } });
});

test('a hub whose certificate is not for the address is not given the token', async () => {
  const hub = await MiniHub.start({ names: ['elsewhere.example'] });
  await using edge = await EdgeFixture.start(hub);
  const abandoned = new AbortController();
  const onWait = (_delayMs: number, problem: string) => abandoned.abort(new Error(problem));
  const joining = EdgeClient.join({ ...edge.options, token: hub.token, signal: abandoned.signal, onWait });
  await expect(joining).rejects.toThrow(/cannot connect .* altnames/);
  expect(hub.enrolments).toEqual([]);
});

test('a certificate of another CA than the token names is not accepted at a join', async () => {
  await using edge = await EdgeFixture.start();
  edge.hub.issuer = await mintCa();
  await expect(edge.join()).rejects.toMatchObject({ code: 'JOIN_REFUSED' });
  expect(await new CredentialStore(edge.options.directory).load('edge-1')).toBeUndefined();
});

test.each([
  ['', 'empty'],
  ['a.b.c', 'a bare JWT'],
  [`${'0'.repeat(64)}.a.b`, 'three parts'],
  [`${'0'.repeat(63)}.a.b.c`, 'a short hash'],
  [`${'0'.repeat(64)}.a..c`, 'an empty part'],
  [`${'0'.repeat(64)}.a.b.c.d`, 'five parts'],
])('a token that is none is refused before anything is sent: %s (%s)', (token) => {
  expect(() => parseJoinToken(token)).toThrow(expect.objectContaining({ code: 'TOKEN_INVALID' }));
});

test('files are 0600 in folders of 0700, and a save leaves only the new set', async () => {
  await using edge = await EdgeFixture.start();
  const directory = join(edge.directory, 'store');
  await mkdir(directory, { mode: 0o755 });
  const store = new CredentialStore(directory);
  await store.save(await credentialsOf('edge-1'));
  const second = await credentialsOf('edge-1');
  await store.save(second);
  expect(await store.load('edge-1')).toEqual(second);
  const generation = await readlink(join(directory, 'current'));
  expect((await readdir(directory)).sort()).toEqual(['.gitignore', 'current', generation]);
  expect(await readFile(join(directory, '.gitignore'), 'utf8')).toBe('*\n');
  const mode = async (...path: string[]) => (await stat(join(directory, ...path))).mode & 0o777;
  expect(await mode()).toBe(0o700);
  expect(await mode(generation)).toBe(0o700);
  for (const file of ['key.pem', 'certificate.pem', 'ca.pem'])
    expect(await mode(generation, file)).toBe(0o600);
});

test('a save that was killed at any point leaves the old pair, and the next save cleans up', async () => {
  await using edge = await EdgeFixture.start();
  const directory = join(edge.directory, 'store');
  const store = new CredentialStore(directory);
  const first = await credentialsOf('edge-1');
  await store.save(first);
  // What the disk holds after each step of `save` that may be the last one of a process.
  const folder = 'generation-00000000000000aa';
  const steps: (() => Promise<void>)[] = [
    async () => void (await mkdir(join(directory, folder), { mode: 0o700 })),
    () => writeFile(join(directory, folder, 'key.pem'), 'half a ke'),
    () => writeFile(join(directory, folder, 'certificate.pem'), ''),
    () => symlink(folder, join(directory, `.${folder}`)),
  ];
  for (const step of steps) {
    await step();
    expect(await new CredentialStore(directory).load('edge-1')).toEqual(first);
  }
  const next = await credentialsOf('edge-1');
  const longAgo = new Date(Date.now() - 3_600_000);
  for (const orphan of [folder, `.${folder}`]) await lutimes(join(directory, orphan), longAgo, longAgo);
  await store.save(next);
  expect(await readdir(directory)).toHaveLength(3);
  expect(await store.load('edge-1')).toEqual(next);
});

test('a certificate that has expired is not accepted at a join', async () => {
  await using edge = await EdgeFixture.start();
  const now = Date.now();
  edge.hub.validity = { notBefore: new Date(now - 7_200_000), notAfter: new Date(now - 3_600_000) };
  await expect(edge.join()).rejects.toMatchObject({
    code: 'JOIN_REFUSED',
    message: expect.stringContaining('has expired already'),
  });
});

test('clients that save in one folder at one moment leave one whole pair, whoever is last', async () => {
  await using edge = await EdgeFixture.start();
  const directory = join(edge.directory, 'store');
  const all = await Promise.all(Array.from({ length: 4 }, () => credentialsOf('edge-1')));
  for (let round = 0; round < 10; round++) {
    const reader = new CredentialStore(directory);
    const [loaded] = await Promise.all([
      reader.load('edge-1'),
      ...all.map((credentials) => new CredentialStore(directory).save(credentials)),
    ]);
    expect([undefined, ...all]).toContainEqual(loaded);
    expect(all).toContainEqual(await reader.load('edge-1'));
  }
});

test('a folder that everybody may write into is not believed, and a key that others can read is told', async () => {
  await using edge = await EdgeFixture.start();
  const directory = join(edge.directory, 'store');
  const { log, lines } = captureLog();
  const store = new CredentialStore(directory, { logger: log });
  await store.save(await credentialsOf('edge-1'));
  await store.load('edge-1');
  expect(lines()).toBe('');
  await chmod(join(directory, 'current', 'key.pem'), 0o644);
  await store.load('edge-1');
  expect(lines()).toContain('set its mode to 0600');
  await chmod(directory, 0o777);
  await expect(store.load('edge-1')).rejects.toMatchObject({
    code: 'NOT_JOINED',
    message: expect.stringContaining('set its mode to 0700'),
  });
});

test('B7: a pair that is damaged, half there or of another node is reported, and a token replaces it', async () => {
  await using edge = await EdgeFixture.start();
  const { directory } = edge.options;
  const store = new CredentialStore(directory);
  await store.save(await credentialsOf('edge-1'));
  await expect(store.load('edge-2')).rejects.toMatchObject({
    code: 'NOT_JOINED',
    details: { problem: 'the certificate names edge-1' },
  });
  const file = (name: string) => join(directory, 'current', name);
  await writeFile(file('key.pem'), (await credentialsOf('edge-1')).key);
  await expect(store.load('edge-1')).rejects.toMatchObject({
    details: { problem: 'the certificate does not belong to the key' },
  });
  await rm(file('key.pem'));
  await expect(store.load('edge-1')).rejects.toMatchObject({ code: 'NOT_JOINED' });
  await expect(EdgeClient.open(edge.options)).rejects.toMatchObject({ code: 'NOT_JOINED' });

  await edge.join();
  expect(await readFile(file('ca.pem'), 'utf8')).toBe(edge.hub.ca.pem);
});

test('a folder that cannot be written to is told before the token is used up', async () => {
  await using edge = await EdgeFixture.start();
  const file = join(edge.directory, 'file');
  await writeFile(file, '');
  await expect(edge.join({ directory: join(file, 'store') })).rejects.toMatchObject({
    code: 'NODE_FOLDER_UNUSABLE',
    message: expect.stringContaining('ENOTDIR'),
  });
  await edge.join();
});

test('open without a certificate says where one was looked for', async () => {
  await using edge = await EdgeFixture.start();
  await expect(EdgeClient.open(edge.options)).rejects.toMatchObject({
    code: 'NOT_JOINED',
    details: { directory: edge.options.directory },
  });
});
