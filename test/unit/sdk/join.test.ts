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
import { CredentialStore } from '../../../src/sdk/credential-store.ts';
import { EdgeClient } from '../../../src/sdk/edge-client.ts';
import { parseJoinToken } from '../../../src/sdk/enrolment.ts';
import type { EdgeCredentials } from '../../../src/sdk/transports/transport.ts';
import { captureLog } from '../../support/capture-log.ts';
import { MiniHub } from '../../support/edges/mini-hub.ts';
import { mintCa, mintEdge } from '../../support/pki/pki.ts';
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
  });
  expect(JSON.stringify(error) + String(error)).not.toContain('aaa.bbb.ccc');
  edge.hub.refuseEnrolment = { status: 429, text: 'too many', headers: { 'Retry-After': '7' } };
  await expect(EdgeClient.join({ ...edge.options, token })).rejects.toMatchObject({
    details: { problem: 'too many', status: 429, retryAfterMs: 7000 },
  });
});

test('a hub whose certificate is not for the address is not given the token', async () => {
  const hub = await MiniHub.start({ names: ['elsewhere.example'] });
  await using edge = await EdgeFixture.start(hub);
  await expect(edge.join()).rejects.toMatchObject({ code: 'CONNECT_FAILED' });
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
  expect((await readdir(directory)).sort()).toEqual(['current', generation]);
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
  expect(await readdir(directory)).toHaveLength(2);
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

test('open without a certificate says where one was looked for', async () => {
  await using edge = await EdgeFixture.start();
  await expect(EdgeClient.open(edge.options)).rejects.toMatchObject({
    code: 'NOT_JOINED',
    details: { directory: edge.options.directory },
  });
});
