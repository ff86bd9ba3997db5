import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { SecretSnapshot } from '../../../../src/contracts/secret-store.ts';
import { type Clock, systemClock } from '../../../../src/core/clock.ts';
import { silentLogger } from '../../../../src/core/log.ts';
import { createMetrics } from '../../../../src/core/metrics.ts';
import { KubeClient } from '../../../../src/secrets/kubernetes/kube-client.ts';
import { KubeSecretStore } from '../../../../src/secrets/kubernetes/kube-secret-store.ts';
import { ManualClock } from '../../../fakes/manual-clock.ts';
import { eventually, eventuallyHolds } from '../../../support/eventually.ts';
import { KubeApi, type KubeFault, type PolicyRule } from '../../../support/kube/kube-api.ts';
import { mintCa } from '../../../support/pki/pki.ts';
import { temporaryFolder } from '../../../support/temporary-folder.ts';

const components = () => ({
  clock: systemClock,
  log: silentLogger,
  metrics: createMetrics({ process: false }),
});
const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const base64 = (text: string) => Buffer.from(text).toString('base64');
const away = { code: 'SECRET_STORE_UNAVAILABLE' };

let api: KubeApi;
let folder: string;
let stores: KubeSecretStore[];
const environment = { ...process.env };
beforeEach(async () => {
  api = await KubeApi.start();
  folder = temporaryFolder();
  stores = [];
});
afterEach(async () => {
  process.env.KUBECONFIG = environment.KUBECONFIG;
  process.env.HOME = environment.HOME;
  for (const name of ['KUBECONFIG', 'HOME']) if (environment[name] === undefined) delete process.env[name];
  for (const store of stores) await store.close();
  await api[Symbol.asyncDispose]();
});

async function connect(
  options: {
    config?: string;
    resyncMs?: number;
    requestTimeoutMs?: number;
    context?: string;
    namespace?: string;
    clock?: Clock;
  } = {},
): Promise<KubeSecretStore> {
  const {
    config = api.kubeconfig(),
    resyncMs = 60_000,
    requestTimeoutMs = 1_000,
    clock = systemClock,
    ...rest
  } = options;
  process.env.KUBECONFIG = join(folder, 'config');
  await writeFile(process.env.KUBECONFIG, config);
  const store = await KubeSecretStore.connect(
    { ...components(), clock },
    { resyncMs, requestTimeoutMs, ...rest },
  );
  stores.push(store);
  return store;
}

function follow(store: KubeSecretStore, ...names: string[]) {
  const snapshots: SecretSnapshot[] = [];
  const errors: unknown[] = [];
  const stop = store.watch(
    names,
    (snapshot) => snapshots.push(snapshot),
    (error) => errors.push(error),
  );
  const value = (name: string) => Buffer.from(snapshots.at(-1)?.get(name)?.data.a ?? []).toString();
  return { snapshots, errors, stop, value };
}

/** Counts the events of watches that the store has dealt with. */
async function countingClient(clock: Clock) {
  process.env.KUBECONFIG = join(folder, 'config');
  await writeFile(process.env.KUBECONFIG, api.kubeconfig());
  const client = await KubeClient.load({ ...components(), clock }, { requestTimeoutMs: 1_000 });
  const lines = client.lines.bind(client);
  let count = 0;
  client.lines = async function* (request) {
    for await (const event of lines(request)) {
      yield event;
      count++;
    }
  };
  return { client, received: () => count };
}

describe('finding the cluster', () => {
  test('says where it is: namespace and server', async () => {
    expect((await connect()).location).toBe(`namespace kubeedge at ${api.url}`);
    expect((await connect({ namespace: 'other' })).location).toBe(`namespace other at ${api.url}`);
  });

  test('neither a kubeconfig nor a service account is a clear error', async () => {
    delete process.env.KUBECONFIG;
    process.env.HOME = folder;
    await expect(
      KubeSecretStore.connect(components(), { resyncMs: 1_000, requestTimeoutMs: 1_000 }),
    ).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('neither a kubeconfig nor a service account'),
    });
  });

  test('a context that does not exist names those that do', async () => {
    await expect(connect({ context: 'production' })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('secretStore.context is production, but the kubeconfig has test'),
    });
  });

  test('A10: a broken kubeconfig is not quoted', async () => {
    const error = await connect({ config: 'users: [{token: "hunter2hunter2' }).catch(
      (reason: unknown) => reason,
    );
    expect(error).toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(`the kubeconfig ${process.env.KUBECONFIG} cannot be read`),
    });
    expect(`${(error as Error).stack}${JSON.stringify(error)}`).not.toContain('hunter');
  });

  test('a namespace that is none is refused before it gets into a path', async () => {
    await expect(connect({ namespace: '..' })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});

test('the client library is loaded by connecting, not by those who only import the stores', async () => {
  const secrets = new URL('../../../../src/secrets/', import.meta.url);
  const program = `
    import { registerHooks } from 'node:module';
    const seen = [];
    registerHooks({ load: (url, context, next) => (seen.push(url), next(url, context)) });
    await import('${new URL('kubernetes/kube-secret-store.ts', secrets)}');
    await import('${new URL('directory/directory-secret-store.ts', secrets)}');
    process.stdout.write(JSON.stringify({ all: seen.length, library: seen.filter((url) => url.includes('@kubernetes')) }));`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program]);
  const { all, library } = JSON.parse(stdout);
  expect(all).toBeGreaterThan(5);
  expect(library).toEqual([]);
});

describe('A2: a fault of the API is an error, never "does not exist"', () => {
  const faults: [string, KubeFault, RegExp][] = [
    ['500', { status: 500, reason: 'InternalError' }, /500 InternalError/],
    ['503', { status: 503, reason: 'ServiceUnavailable' }, /503/],
    ['429 without a time', { status: 429, reason: 'TooManyRequests' }, /429/],
    ['a balancer that says 404', { html: 404 }, /404/],
    ['a balancer that says 502', { html: 502 }, /502/],
    ['HTML with 200', { html: 200 }, /not JSON/],
    ['a redirect', { status: 302, headers: { location: 'https://127.0.0.1:1/' } }, /302/],
    ['a cut-off body', { broken: 'truncate' }, /terminated|closed|aborted|UND_ERR|ECONNRESET/],
    ['a body that is not whole', { broken: 'garbage' }, /not JSON/],
    ['a reset', { broken: 'reset' }, /ECONNRESET|closed/],
    ['no answer at all', { broken: 'stall' }, /no answer within 1000 ms/],
  ];
  test.each(faults)('%s', async (_, fault, problem) => {
    const store = await connect();
    api.fail({}, fault);
    for (const call of [() => store.get('casecret'), () => store.create({ name: 'casecret', data: {} })])
      await expect(call()).rejects.toMatchObject({ ...away, message: expect.stringMatching(problem) });
    expect(api.stored('casecret')).toBeUndefined();
  });

  test('a slow answer within the time is an answer', async () => {
    const store = await connect();
    api.put('casecret', { data: { a: base64('1') } });
    api.fail({}, { delayMs: 300 });
    expect((await store.get('casecret'))!.data.a).toEqual(bytes('1'));
  });

  test('a refused connection', async () => {
    const store = await connect();
    await api[Symbol.asyncDispose]();
    await expect(store.get('casecret')).rejects.toMatchObject({
      ...away,
      message: expect.stringContaining('ECONNREFUSED'),
    });
    api = await KubeApi.start();
  });

  test('a server of another CA', async () => {
    const other = await mintCa({ subject: 'CN=other' });
    const store = await connect({ config: api.kubeconfig({ ca: other.pem }) });
    await expect(store.get('casecret')).rejects.toMatchObject({
      ...away,
      message: expect.stringMatching(/certificate|signature/),
    });
    expect(api.calls).toEqual([]);
  });

  test('a read whose connection was lost is repeated once, a write is not', async () => {
    const store = await connect();
    api.put('web', { data: { a: base64('1') } });
    api.fail({}, { broken: 'reset' }, 1);
    const secret = (await store.get('web'))!;
    expect(secret.data.a).toEqual(bytes('1'));
    api.fail({ verb: 'update' }, { broken: 'reset', commit: true }, 1);
    const next = { ...secret, version: secret.version!, data: { a: bytes('2') } };
    await expect(store.replace(next)).rejects.toMatchObject(away);
    expect(api.callsOf('update')).toHaveLength(1);
    await expect(store.replace(next)).rejects.toMatchObject({ code: 'SECRET_CONFLICT' });
  });

  test('a create whose answer was lost is found by the next try', async () => {
    const store = await connect();
    api.fail({ verb: 'create' }, { broken: 'reset', commit: true }, 1);
    await expect(store.create({ name: 'casecret', data: { a: bytes('1') } })).rejects.toMatchObject(away);
    await expect(store.create({ name: 'casecret', data: { a: bytes('2') } })).rejects.toMatchObject({
      code: 'SECRET_ALREADY_EXISTS',
    });
    expect((await store.get('casecret'))!.data.a).toEqual(bytes('1'));
  });

  test('a namespace that does not exist', async () => {
    const store = await connect();
    api.fail({ verb: 'create' }, { status: 404, reason: 'NotFound', kind: 'namespaces' });
    await expect(store.create({ name: 'casecret', data: {} })).rejects.toMatchObject({
      ...away,
      message: expect.stringContaining('the namespace does not exist'),
    });
  });
});

describe('answers that mean something', () => {
  test('403 names the verb and the secret', async () => {
    const store = await connect();
    api.fail({}, { status: 403, reason: 'Forbidden' });
    await expect(store.get('casecret')).rejects.toMatchObject({
      code: 'SECRET_STORE_FORBIDDEN',
      details: { verb: 'get', secret: 'casecret' },
    });
    await expect(store.create({ name: 'casecret', data: {} })).rejects.toMatchObject({
      details: { verb: 'create' },
    });
  });

  test('the two kinds of 409 are told apart by the reason', async () => {
    const store = await connect();
    api.put('web', { data: {} });
    const secret = (await store.get('web'))!;
    api.fail({ verb: 'create' }, { status: 409, reason: 'Conflict' }, 1);
    await expect(store.create({ name: 'new', data: {} })).rejects.toMatchObject(away);
    api.fail({ verb: 'create' }, { status: 409, reason: 'AlreadyExists' }, 1);
    await expect(store.create({ name: 'new', data: {} })).rejects.toMatchObject({
      code: 'SECRET_ALREADY_EXISTS',
    });
    api.fail({ verb: 'update' }, { status: 409, reason: 'Conflict' }, 1);
    await expect(store.replace({ ...secret, version: secret.version! })).rejects.toMatchObject({
      code: 'SECRET_CONFLICT',
    });
  });

  test('429 is waited out as long as the API asks and the time for the call allows', async () => {
    const store = await connect({ requestTimeoutMs: 3_000 });
    api.put('web', { data: {} });
    const end = api.fail({}, { status: 429, headers: { 'retry-after': '1' } }, 1);
    const since = Date.now();
    expect((await store.get('web'))!.name).toBe('web');
    expect(Date.now() - since).toBeGreaterThanOrEqual(900);
    end();
    api.fail({}, { status: 429, headers: { 'retry-after': '60' } });
    await expect(store.get('web')).rejects.toMatchObject({ ...away, details: { retryAfterMs: 60_000 } });
  });

  test('a service-account token that was rotated on disk is read again after a 401', async () => {
    const tokenFile = join(folder, 'token');
    await writeFile(tokenFile, 'token-1\n');
    const store = await connect({ config: api.kubeconfig({ tokenFile }) });
    api.put('web', { data: {} });
    expect(await store.get('web')).toBeDefined();
    api.tokens.clear();
    api.tokens.add('token-2');
    await expect(store.get('web')).rejects.toMatchObject({
      ...away,
      message: expect.stringContaining('401'),
    });
    await writeFile(tokenFile, 'token-2\n');
    expect(await store.get('web')).toBeDefined();
  });

  test('the tokenFile of a kubeconfig is read, also beside its folder, and again after a 401', async () => {
    await writeFile(join(folder, 'beside'), 'token-1\n');
    const config = api
      .kubeconfig({ token: 'outdated' })
      .replace('token: outdated', 'token: outdated\n      tokenFile: beside');
    const store = await connect({ config });
    api.put('web', { data: {} });
    expect(await store.get('web')).toBeDefined();
    api.tokens.clear();
    api.tokens.add('token-2');
    await writeFile(join(folder, 'beside'), 'token-2\n');
    expect(await store.get('web')).toBeDefined();
  });

  test('A10: what the API says about a refused value is not passed on', async () => {
    const store = await connect();
    api.put('web', { data: { a: 'hunter2 is not base64!' } });
    const error = await store.get('web').catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'SECRET_MALFORMED', message: expect.stringContaining('the key a') });
    expect(`${(error as Error).stack}${JSON.stringify(error)}`).not.toContain('hunter');
  });

  test('a replacement keeps labels and always names its version', async () => {
    const store = await connect();
    api.put('web', { data: { a: base64('1'), b: base64('1') }, labels: { team: 'edge' } });
    const secret = (await store.get('web'))!;
    await store.replace({ ...secret, version: secret.version!, data: { a: bytes('2') } });
    expect(api.stored('web')).toMatchObject({
      data: { a: base64('2') },
      metadata: { labels: { team: 'edge' } },
    });
    expect(api.stored('web')!.data).not.toHaveProperty('b');
    api.put('web', { data: { a: base64('theirs') } });
    await expect(store.replace({ ...secret, version: secret.version! })).rejects.toMatchObject({
      code: 'SECRET_CONFLICT',
    });
  });
});

describe('A6: with a Role limited to the named secrets', () => {
  const resourceNames = ['web'];
  const role: readonly PolicyRule[] = [
    { apiGroups: [''], resources: ['secrets'], verbs: ['get', 'list', 'watch', 'update'], resourceNames },
    { apiGroups: [''], resources: ['secrets'], verbs: ['create'] },
  ];
  const everything = async () => {
    const store = await connect();
    const created = await store.create({ name: 'web', data: { a: bytes('1') } });
    await store.replace({ ...created, version: created.version!, data: { a: bytes('2') } });
    expect((await store.get('web'))!.data.a).toEqual(bytes('2'));
    const { errors, value } = follow(store, 'web');
    await eventually('it watches, or says why not', () => errors.length > 0 || api.watches === 1);
    expect(errors).toEqual([]);
    expect(value('web')).toBe('2');
  };

  test('everything works', async () => {
    api.rules = role;
    await everything();
    await expect((await connect()).get('other')).rejects.toMatchObject({ code: 'SECRET_STORE_FORBIDDEN' });
  });

  test.each(['get', 'list', 'watch', 'update', 'create'])('without %s it does not', async (verb) => {
    api.rules = role.map((rule) => ({ ...rule, verbs: rule.verbs.filter((entry) => entry !== verb) }));
    await expect(everything()).rejects.toThrow();
  });
});

describe('R6: what is known is not read again', () => {
  const large = base64('x'.repeat(500_000));

  test('a Secret that has not changed costs its version, one that has is read whole', async () => {
    const store = await connect();
    api.put('web', { data: { large } });
    await store.get('web');
    const before = api.bytesSent;
    for (let time = 0; time < 10; time++) expect((await store.get('web'))!.data.large).toHaveLength(500_000);
    expect(api.bytesSent - before).toBeLessThan(10_000);
    api.put('web', { data: { large, more: base64('1') } });
    expect((await store.get('web'))!.data.more).toEqual(bytes('1'));
    api.remove('web');
    expect(await store.get('web')).toBeUndefined();
    api.put('web', { data: {} });
    expect((await store.get('web'))!.data).toEqual({});
  });

  test('a server that gives the whole Secret when asked for its metadata is believed', async () => {
    api.speaksMetadata = false;
    const store = await connect();
    for (const value of ['1', '2']) {
      api.put('web', { data: { a: base64(value) } });
      for (let time = 0; time < 2; time++) expect((await store.get('web'))!.data.a).toEqual(bytes(value));
    }
  });
});

describe('a watch', () => {
  beforeEach(() => api.put('web', { data: { a: base64('1') } }));

  test('asks for one named secret, bookmarks and a time-out each', async () => {
    const { snapshots } = follow(await connect(), 'web', 'other');
    await eventuallyHolds(() => expect(snapshots).toHaveLength(1));
    await eventuallyHolds(() => expect(api.watches).toBe(2));
    for (const { query } of api.callsOf('watch')) {
      expect(query.get('fieldSelector')).toMatch(/^metadata\.name=(web|other)$/);
      expect(query.get('allowWatchBookmarks')).toBe('true');
      expect(Number(query.get('timeoutSeconds'))).toBeGreaterThanOrEqual(300);
      expect(Number(query.get('timeoutSeconds'))).toBeLessThanOrEqual(590);
      expect(query.get('resourceVersion')).toMatch(/^\d+$/);
    }
  });

  test.each(['end', 'reset', { line: '{"type":"MODI' }, { line: '<html>\n' }] as const)(
    'B6: goes on after its connection ended with %j',
    async (how) => {
      const { value } = follow(await connect(), 'web');
      await eventuallyHolds(() => expect(api.watches).toBe(1));
      api.endWatches(how);
      api.put('web', { data: { a: base64('2') } });
      await eventuallyHolds(() => expect(value('web')).toBe('2'));
      await eventuallyHolds(() => expect(api.watches).toBe(1));
      api.put('web', { data: { a: base64('3') } });
      await eventuallyHolds(() => expect(value('web')).toBe('3'));
    },
  );

  test('a version that was compacted meanwhile leads to a list, not to an error', async () => {
    const { value, errors } = follow(await connect(), 'web');
    await eventuallyHolds(() => expect(api.watches).toBe(1));
    api.silenceWatches();
    api.put('web', { data: { a: base64('2') } });
    api.compact();
    api.endWatches('end');
    await eventuallyHolds(() => expect(value('web')).toBe('2'));
    await eventuallyHolds(() => expect(api.watches).toBe(1));
    expect(errors).toEqual([]);
  });

  test('after a bookmark even compaction costs no list', async () => {
    const { value, errors } = follow(await connect(), 'web');
    await eventuallyHolds(() => expect(api.watches).toBe(1));
    for (let n = 0; n < 5; n++) api.put(`other-${n}`, {});
    api.compact();
    api.bookmark();
    api.put('web', { data: { a: base64('2') } });
    await eventuallyHolds(() => expect(value('web')).toBe('2'));
    api.endWatches('end');
    await eventuallyHolds(() => expect(api.watches).toBe(1));
    expect(api.callsOf('list')).toHaveLength(1);
    expect(errors).toEqual([]);
  });

  test('B6: a watch that has gone silent is found out by the periodic read', async () => {
    const { value, errors } = follow(await connect({ resyncMs: 300 }), 'web');
    await eventuallyHolds(() => expect(api.watches).toBe(1));
    api.silenceWatches();
    api.put('web', { data: { a: base64('2') } });
    await eventuallyHolds(() => expect(value('web')).toBe('2'));
    await eventuallyHolds(() => expect(api.watches).toBe(1));
    expect(errors).toEqual([]);
  });

  test('a connection without a byte for three minutes is given up, and another one made', async () => {
    const clock = new ManualClock();
    const store = await connect({ clock, resyncMs: 3_600_000 });
    const { value, errors } = follow(store, 'web');
    await eventuallyHolds(() => expect(api.watches).toBe(1));
    await clock.advance(170_000);
    const deadlines = vi.spyOn(clock, 'setTimeout');
    api.bookmark();
    await eventually('the bookmark has arrived', () => deadlines.mock.calls.length > 0);
    await clock.advance(170_000);
    expect(errors).toEqual([]);
    api.silenceWatches();
    api.put('web', { data: { a: base64('2') } });
    await clock.advance(11_000);
    await eventuallyHolds(() => expect(errors).toHaveLength(1));
    expect(errors[0]).toMatchObject({
      ...away,
      message: expect.stringContaining('no answer within 180000 ms'),
    });
    await eventuallyHolds(() => clock.advance(1_000).then(() => expect(value('web')).toBe('2')));
    await eventuallyHolds(() => expect(api.watches).toBe(1));
  });

  test('A5: a secret that became malformed keeps its last good value, and the error names it', async () => {
    const { snapshots, errors, value } = follow(await connect({ resyncMs: 200 }), 'web');
    await eventuallyHolds(() => expect(value('web')).toBe('1'));
    await eventuallyHolds(() => expect(api.watches).toBe(1));
    api.put('web', { data: { a: '!!!' } });
    await eventuallyHolds(() => expect(errors[0]).toMatchObject({ code: 'SECRET_MALFORMED' }));
    for (const snapshot of snapshots) expect(snapshot.get('web')!.data.a).toEqual(bytes('1'));
    api.put('web', { data: { a: base64('2') } });
    await eventuallyHolds(() => expect(value('web')).toBe('2'));
  });

  test('Secrets that change one after the other are told together, a moment after the first', async () => {
    const clock = new ManualClock();
    const { client, received } = await countingClient(clock);
    const store = new KubeSecretStore({ ...components(), clock, client }, { resyncMs: 3_600_000 });
    stores.push(store);
    const { snapshots } = follow(store, 'web', 'other');
    await eventuallyHolds(() => clock.advance(20).then(() => expect(snapshots).toHaveLength(1)));
    await eventuallyHolds(() => expect(api.watches).toBe(2));
    api.put('web', { data: { a: base64('2') } });
    await eventuallyHolds(() => expect(received()).toBe(1));
    await clock.advance(19);
    api.put('other', { data: { a: base64('2') } });
    await eventuallyHolds(() => expect(received()).toBe(2));
    expect(snapshots).toHaveLength(1);
    await clock.advance(1);
    expect(snapshots).toHaveLength(2);
    for (const secret of snapshots[1]!.values()) expect(secret?.data.a).toEqual(bytes('2'));
    api.put('web', { data: { a: base64('3') } });
    await eventuallyHolds(() => expect(received()).toBe(3));
    await store.close();
    expect(clock.pending).toBe(0);
  });

  test('an idle watch costs one read a period and no connection', async () => {
    const { snapshots } = follow(await connect({ resyncMs: 100 }), 'web');
    await eventuallyHolds(() => expect(api.watches).toBe(1));
    const connections = api.connections;
    const { length: lists } = api.callsOf('list');
    const { length: periods } = snapshots;
    await eventuallyHolds(() => expect(snapshots.length - periods).toBeGreaterThanOrEqual(10));
    expect(api.callsOf('list').length - lists).toBeLessThanOrEqual(snapshots.length - periods + 1);
    expect(api.callsOf('watch')).toHaveLength(1);
    expect(api.connections - connections).toBeLessThanOrEqual(1);
  });

  test('calls share connections', async () => {
    const store = await connect();
    for (let n = 0; n < 50; n++) await store.get('web');
    expect(api.connections).toBeLessThanOrEqual(2);
  });

  test('after close nothing is called any more, and no watch is left open', async () => {
    const clock = new ManualClock();
    const store = await connect({ clock, resyncMs: 50 });
    const { errors } = follow(store, 'web', 'other');
    await eventuallyHolds(() => expect(api.watches).toBe(2));
    await store.close();
    await eventuallyHolds(() => expect(api.watches).toBe(0));
    const { length } = api.calls;
    expect(clock.pending).toBe(0);
    await clock.advance(3_600_000);
    expect(api.calls).toHaveLength(length);
    expect(errors).toEqual([]);
  });

  test('close does not wait for an API that does not answer', async () => {
    const store = await connect({ requestTimeoutMs: 60_000 });
    api.fail({}, { broken: 'stall' });
    const { errors } = follow(store, 'web');
    const pending = store.get('web').catch((error: unknown) => error);
    await eventuallyHolds(() => expect(api.calls.length).toBeGreaterThanOrEqual(2));
    const since = Date.now();
    await store.close();
    expect(Date.now() - since).toBeLessThan(1_000);
    expect(await pending).toMatchObject(away);
    expect(errors).toEqual([]);
  });
});
