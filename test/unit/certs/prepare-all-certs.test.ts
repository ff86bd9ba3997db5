import { X509Certificate } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import { type CertificateOptions, prepareAllCerts } from '../../../src/certs/prepare-all-certs.ts';
import { SallyportError } from '../../../src/core/errors.ts';
import { silentLogger } from '../../../src/core/log.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { MemorySecretStore } from '../../fakes/memory-secret-store.ts';
import { captureLog } from '../../support/capture-log.ts';
import { certificateOptions } from '../../support/pki/cert-options.ts';
import { mint, mintCa, mintServer, OID, type Pair } from '../../support/pki/pki.ts';
import { whileAdvancing } from '../../support/while-advancing.ts';

const DAY_MS = 86_400_000;
const addresses = ['localhost', '127.0.0.1', '::1'];
let store: MemorySecretStore;
let clock: ManualClock;
beforeEach(() => {
  store = new MemorySecretStore();
  clock = new ManualClock(Date.now());
});

function prepare(
  options: {
    certificates?: Partial<CertificateOptions>;
    addresses?: readonly string[];
    on?: MemorySecretStore;
    signal?: AbortSignal;
    log?: typeof silentLogger;
  } = {},
) {
  return prepareAllCerts(
    {
      store: options.on ?? store,
      clock,
      log: options.log ?? silentLogger,
      metrics: createMetrics({ process: false }),
    },
    {
      certificates: { ...certificateOptions, ...options.certificates },
      addresses: options.addresses ?? addresses,
    },
    options.signal ?? new AbortController().signal,
  );
}

const putCa = (ca: Pair, name = 'casecret') =>
  store.put({
    name,
    data: { cadata: ca.der, cakeydata: ca.privateKey.export({ type: 'sec1', format: 'der' }) },
  });
const putHub = (hub: Pair) =>
  store.put({
    name: 'cloudcoresecret',
    data: {
      cloudcoredata: hub.der,
      cloudcorekeydata: hub.privateKey.export({ type: 'sec1', format: 'der' }),
    },
  });
const writesTo = (name: string) =>
  store.writes.filter((write) => write.name === name).map(({ call }) => call);

describe('an empty store', () => {
  test('becomes a CA and a hub certificate that verifies, and a second run changes nothing', async () => {
    const first = await prepare();
    expect(store.writes).toEqual([
      { call: 'create', name: 'casecret' },
      { call: 'create', name: 'cloudcoresecret' },
    ]);
    const leaf = new X509Certificate(first.bundle.server.cert);
    expect(leaf.verify(new X509Certificate(first.bundle.ca.pem).publicKey)).toBe(true);
    expect(first.bundle.server.names).toEqual(addresses);
    expect(first.bundle.clientCAs).toEqual([first.ca.certificate]);
    const second = await prepare();
    expect(second.bundle).toEqual(first.bundle);
    expect(store.writes).toHaveLength(2);
  });

  test('A1: eight replicas at once create one CA, never update it, and serve the same bytes', async () => {
    const replicas = Array.from({ length: 8 }, () => store.connect());
    const prepared = await Promise.all(replicas.map((on) => prepare({ on })));
    expect(writesTo('casecret')).toEqual(['create']);
    expect(writesTo('cloudcoresecret')).toEqual(['create']);
    for (const { ca, bundle } of prepared) {
      expect(ca.certificate.der).toEqual(store.peek('casecret')!.data.cadata);
      expect(bundle.fingerprint).toBe(prepared[0]!.bundle.fingerprint);
    }
  });

  test('A1: a create whose answer was lost is found by the next attempt', async () => {
    const create = store.create.bind(store);
    let lost = 0;
    store.create = async (secret, signal) => {
      const stored = await create(secret, signal);
      if (lost++ === 0) throw new SallyportError('SECRET_STORE_UNAVAILABLE', { problem: 'socket hang up' });
      return stored;
    };
    expect((await whileAdvancing(clock, prepare())).ca.certificate.der).toEqual(
      store.peek('casecret')!.data.cadata,
    );
    expect(writesTo('casecret')).toEqual(['create']);
  });
});

describe('A2: a store in trouble', () => {
  test.each<[string, unknown]>([
    ['unavailable', new SallyportError('SECRET_STORE_UNAVAILABLE', { problem: 'status 500' })],
    ['forbidding', new SallyportError('SECRET_STORE_FORBIDDEN', { verb: 'get', secret: 'casecret' })],
    ['cut off', new TypeError('fetch failed', { cause: new Error('ECONNRESET') })],
  ])('%s: generates nothing, tries again with back-off, and goes on when it is back', async (_, error) => {
    const { log, lines } = captureLog();
    store.fault = () => {
      throw error;
    };
    const done = prepare({ log });
    await clock.advance(60_000);
    expect(store.writes).toEqual([]);
    expect(store.calls.every(({ call }) => call === 'get')).toBe(true);
    const attempts = store.calls.length;
    expect(attempts).toBeGreaterThan(5);
    expect(attempts).toBeLessThan(30);
    expect(lines()).toContain((error as Error).message);
    store.fault = () => {};
    expect((await whileAdvancing(clock, done)).bundle.server.names).toEqual(addresses);
  });

  test('gives up when told to, with the real cause', async () => {
    const cause = new SallyportError('SECRET_STORE_UNAVAILABLE', { problem: 'status 500' });
    store.fault = () => {
      throw cause;
    };
    const stop = new AbortController();
    const done = prepare({ signal: stop.signal });
    const failed = expect(done).rejects.toMatchObject({ code: 'NO_CERTIFICATES', cause });
    await clock.advance(2_000);
    stop.abort();
    await failed;
    expect(store.writes).toEqual([]);
    expect(clock.pending).toBe(0);
  });
});

describe('A3: a CA Secret that is not usable is not written', () => {
  const cases: [string, (ca: Pair) => Record<string, Uint8Array>, string, RegExp][] = [
    ['no certificate', (ca) => ({ cakeydata: Buffer.from(ca.key) }), 'SECRET_KEY_MISSING', /cadata/],
    ['no key', (ca) => ({ cadata: ca.der }), 'SECRET_KEY_MISSING', /cakeydata/],
    [
      'garbage as certificate',
      (ca) => ({ cadata: Buffer.from('x'), cakeydata: Buffer.from(ca.key) }),
      'SECRET_MALFORMED',
      /cadata/,
    ],
    [
      'garbage as key',
      (ca) => ({ cadata: ca.der, cakeydata: Buffer.from('x') }),
      'KEY_UNREADABLE',
      /cakeydata/,
    ],
    ['nothing', () => ({}), 'SECRET_KEY_MISSING', /cadata/],
  ];
  test.each(cases)('%s', async (_, data, code, message) => {
    store.put({ name: 'casecret', data: data(await mintCa()) });
    await expect(whileAdvancing(clock, prepare())).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
    expect(store.writes).toEqual([]);
  });

  test('a CA that has expired', async () => {
    putCa(
      await mintCa({
        notAfter: new Date(clock.now() - DAY_MS),
        notBefore: new Date(clock.now() - 2 * DAY_MS),
      }),
    );
    await expect(prepare()).rejects.toMatchObject({
      code: 'CA_INVALID',
      message: expect.stringMatching(/expired/),
    });
    expect(store.writes).toEqual([]);
  });
});

describe('A4: a stored hub certificate that is not usable', () => {
  const wrong: [string, (ca: Pair) => Promise<Pair>, RegExp][] = [
    ['of another CA', async () => mintServer(await mintCa({ subject: 'CN=Other' })), /issued by CN=Other/],
    ['of another CA of the same name', async () => mintServer(await mintCa()), /not by CN=KubeEdge/],
    [
      'with another key',
      async (ca) => ({ ...(await mintServer(ca)), privateKey: (await mint()).privateKey }),
      /does not belong/,
    ],
    ['expired', (ca) => mintServer(ca, { notAfter: new Date(Date.now() - 60_000) }), /expired at/],
    [
      'not yet valid',
      (ca) => mintServer(ca, { notBefore: new Date(Date.now() + DAY_MS) }),
      /not valid before/,
    ],
    ['without serverAuth', (ca) => mintServer(ca, { usages: [OID.clientAuth] }), /lacks serverAuth/],
    [
      'without an advertised name',
      (ca) => mintServer(ca, { names: ['localhost', '127.0.0.1'] }),
      /does not name ::1/,
    ],
  ];

  test.each(wrong)('%s is issued anew from the CA that is there', async (_, make) => {
    const ca = await mintCa();
    const stored = putCa(ca);
    putHub(await make(ca));
    const { bundle } = await prepare();
    expect(new X509Certificate(bundle.server.cert).verify(ca.certificate.publicKey)).toBe(true);
    expect(writesTo('cloudcoresecret')).toEqual(['replace']);
    expect(store.peek('casecret')).toEqual(stored);
  });

  test.each(wrong)('%s is refused when somebody else keeps it', async (_, make, message) => {
    const ca = await mintCa();
    putCa(ca);
    putHub(await make(ca));
    await expect(prepare({ certificates: { hubSecretManaged: false } })).rejects.toMatchObject({
      code: 'BUNDLE_INVALID',
      message: expect.stringMatching(message),
    });
    expect(store.writes).toEqual([]);
  });

  test('is missing, and somebody else keeps it: refused', async () => {
    putCa(await mintCa());
    await expect(prepare({ certificates: { hubSecretManaged: false } })).rejects.toMatchObject({
      code: 'SECRET_NOT_FOUND',
    });
  });

  test('B4: near its end it is renewed, before that it is not', async () => {
    const { bundle } = await prepare();
    await clock.advance(59 * DAY_MS);
    expect((await prepare()).bundle.fingerprint).toBe(bundle.fingerprint);
    await clock.advance(2 * DAY_MS);
    expect((await prepare()).bundle.fingerprint).not.toBe(bundle.fingerprint);
    expect(writesTo('cloudcoresecret')).toEqual(['create', 'replace']);
  });

  test('B4: is not renewed for ever when the CA ends as soon', async () => {
    await prepare({ certificates: { caDays: 30 } });
    await clock.advance(29 * DAY_MS);
    const { bundle, ca } = await prepare();
    expect(bundle.notAfter).toEqual(ca.certificate.notAfter);
    expect(writesTo('cloudcoresecret')).toEqual(['create']);
  });

  test('loses a race: the winner’s is taken', async () => {
    await prepare();
    await clock.advance(70 * DAY_MS);
    const [a, b] = [store.connect(), store.connect()];
    const [one, two] = await Promise.all([prepare({ on: a }), prepare({ on: b })]);
    expect(one.bundle.fingerprint).toBe(two.bundle.fingerprint);
    expect(writesTo('cloudcoresecret')).toEqual(['create', 'replace']);
  });
});

describe('what operators bring along', () => {
  test('the Secrets of a KubeEdge cluster are adopted as they are', async () => {
    const ca = await mintCa({ serial: '0400', keyIdentifiers: false });
    putCa(ca);
    putHub(
      await mintServer(ca, { keyIdentifiers: false, notAfter: new Date(clock.now() + 36_400 * DAY_MS) }),
    );
    const { bundle } = await prepare();
    expect(bundle.ca.sha256).toBe(ca.sha256);
    expect(store.writes).toEqual([]);
  });

  test('A9: a kubernetes.io/tls Secret is followed and never written, even when it would be ours to renew', async () => {
    const ca = await mintCa();
    putCa(ca);
    const put = (hub: Pair) =>
      store.put({
        name: 'cloudcoresecret',
        type: 'kubernetes.io/tls',
        data: {
          'tls.crt': Buffer.from(hub.pem),
          'tls.key': Buffer.from(hub.key),
          'ca.crt': Buffer.from(ca.pem),
        },
      });
    put(await mintServer(ca, { notAfter: new Date(clock.now() + 60_000) }));
    expect((await prepare()).bundle.server.issuer).toBe('CN=KubeEdge');
    put(await mintServer(ca, { names: ['elsewhere'] }));
    await expect(prepare()).rejects.toMatchObject({ code: 'BUNDLE_INVALID' });
    expect(store.writes).toEqual([]);
  });

  test('A8: CAs of the trust Secret are loaded whole, under any key, PEM and DER, and each once', async () => {
    const [old, other, third] = await Promise.all([mintCa(), mintCa({ subject: 'CN=Other' }), mintCa()]);
    store.put({
      name: 'sallyport-trust',
      data: { a: Buffer.from(old.pem + other.pem), b: third.der, c: old.der },
    });
    const { bundle } = await prepare();
    expect(bundle.clientCAs[0]).toEqual(bundle.ca);
    expect(new Set(bundle.clientCAs.slice(1).map(({ sha256 }) => sha256))).toEqual(
      new Set([old.sha256, other.sha256, third.sha256]),
    );
    expect(bundle.clientCAs).toHaveLength(4);
  });

  test('a trust Secret that holds no CA is named', async () => {
    store.put({ name: 'sallyport-trust', data: { edges: (await mint()).der } });
    await expect(whileAdvancing(clock, prepare())).rejects.toMatchObject({
      code: 'SECRET_MALFORMED',
      message: expect.stringMatching(/sallyport-trust.*edges/),
    });
  });

  test('B2: an invalid address stops the start before anything is written', async () => {
    await expect(prepare({ addresses: ['ok.example', 'https://no'] })).rejects.toMatchObject({
      code: 'ADDRESS_INVALID',
    });
    expect(store.calls).toEqual([]);
  });

  test('B1: a new address leads to a certificate of the same CA that keeps the old names too', async () => {
    const { ca } = await prepare();
    const { bundle } = await prepare({ addresses: ['lb.example.com'] });
    expect(bundle.ca).toEqual(ca.certificate);
    expect(bundle.server.names).toEqual(['lb.example.com', ...addresses]);
    expect((await prepare()).bundle.fingerprint).toBe(bundle.fingerprint);
    expect(writesTo('casecret')).toEqual(['create']);
  });
});
