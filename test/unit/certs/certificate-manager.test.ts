import { X509Certificate } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CertificateManager, type ManagerOptions } from '../../../src/certs/certificate-manager.ts';
import { CurrentCertificates } from '../../../src/certs/current-certificates.ts';
import { type CertificateOptions, prepareAllCerts } from '../../../src/certs/prepare-all-certs.ts';
import type { CertificateBundle } from '../../../src/contracts/certificate-source.ts';
import { SallyportError } from '../../../src/core/errors.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { MemorySecretStore } from '../../fakes/memory-secret-store.ts';
import { captureLog } from '../../support/capture-log.ts';
import { certificateOptions } from '../../support/pki/cert-options.ts';
import { mint, mintCa, mintEdge, mintServer, OID, type Pair } from '../../support/pki/pki.ts';
import { advanceUntil, whileAdvancing } from '../../support/while-advancing.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const addresses = ['localhost', '127.0.0.1', '::1'];
const signal = new AbortController().signal;
let store: MemorySecretStore;
let clock: ManualClock;
const running: CertificateManager[] = [];

beforeEach(() => {
  store = new MemorySecretStore();
  clock = new ManualClock(Date.now());
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((manager) => manager.stop(signal)));
  expect(clock.pending).toBe(0);
});

async function start(
  options: {
    on?: MemorySecretStore;
    certificates?: Partial<CertificateOptions & { checkMs: number }>;
    addresses?: readonly string[];
    nodesNotIssuedBy?: (cas: ReadonlySet<string>) => number;
  } & Pick<ManagerOptions, 'settleMs'> = {},
) {
  const { log, lines, records } = captureLog();
  const metrics = createMetrics({ process: false });
  const components = { store: options.on ?? store, clock, log, metrics };
  const certificates = { ...certificateOptions, checkMs: 60_000, ...options.certificates };
  const prepared = await prepareAllCerts(
    components,
    { certificates, addresses: options.addresses ?? addresses },
    signal,
  );
  const { nodesNotIssuedBy } = options;
  const current = new CurrentCertificates(prepared);
  const manager = new CertificateManager(
    {
      ...components,
      current,
      snapshot: prepared.snapshot,
      ...(nodesNotIssuedBy ? { nodesNotIssuedBy } : {}),
    },
    {
      certificates,
      addresses: options.addresses ?? addresses,
      ...(options.settleMs === undefined ? {} : { settleMs: options.settleMs }),
    },
  );
  const changes: CertificateBundle[] = [];
  current.onChange((next) => changes.push(next));
  await manager.start(signal);
  running.push(manager);
  await clock.advance(1_000);
  const errors = () => records().filter(({ level }) => level === 'error');
  return { current, manager, metrics, changes, lines, records, errors, prepared };
}

const sec1 = (pair: Pair) => pair.privateKey.export({ type: 'sec1', format: 'der' });
const putCa = (ca: Pair) => store.put({ name: 'casecret', data: { cadata: ca.der, cakeydata: sec1(ca) } });
const hubData = (hub: Pair) => ({ cloudcoredata: hub.der, cloudcorekeydata: sec1(hub) });
const putHub = (hub: Pair) => store.put({ name: 'cloudcoresecret', data: hubData(hub) });
const writesTo = (name: string) => store.writes.filter((write) => write.name === name).length;
const sha256s = (bundle: CertificateBundle) => bundle.clientCAs.map(({ sha256 }) => sha256);

describe('a replacement of the hub Secret', () => {
  test('B5: a good one is in use a moment later, and everyone who follows is told once', async () => {
    const ca = await mintCa();
    putCa(ca);
    const { current, manager, changes } = await start();
    const next = await mintServer(ca);
    putHub(next);
    await clock.advance(100);
    expect(current.current().server.sha256).toBe(next.sha256);
    expect(current.current().server.key).toBe(next.privateKey.export({ type: 'pkcs8', format: 'pem' }));
    expect(changes).toEqual([current.current()]);
    expect(manager.status().problem).toBeUndefined();
  });

  test('a burst of updates leads to one change, and an equal one to none', async () => {
    const ca = await mintCa();
    putCa(ca);
    const { current, changes } = await start();
    const hubs = await Promise.all([mintServer(ca), mintServer(ca), mintServer(ca)]);
    for (const hub of hubs) putHub(hub);
    await clock.advance(100);
    putHub(hubs[2]);
    store.resync();
    await clock.advance(100);
    expect(changes.map(({ server }) => server.sha256)).toEqual([hubs[2].sha256]);
    expect(current.current().server.sha256).toBe(hubs[2].sha256);
  });

  const bad: [string, (ca: Pair) => Promise<Pair>, RegExp, string][] = [
    ['expired', (ca) => mintServer(ca, { notAfter: new Date(Date.now() - 60_000) }), /expired at/, 'expired'],
    [
      'not yet valid',
      (ca) => mintServer(ca, { notBefore: new Date(Date.now() + DAY_MS) }),
      /not valid before/,
      'not-yet-valid',
    ],
    [
      'mismatched',
      async (ca) => ({ ...(await mintServer(ca)), privateKey: (await mint()).privateKey }),
      /does not belong/,
      'key-mismatch',
    ],
    ['from a wrong CA', async () => mintServer(await mintCa()), /issued by CN=KubeEdge/, 'wrong-ca'],
    [
      'without serverAuth',
      (ca) => mintServer(ca, { usages: [OID.clientAuth] }),
      /lacks serverAuth/,
      'wrong-usage',
    ],
    [
      'without the advertised names',
      (ca) => mintServer(ca, { names: ['localhost'] }),
      /127\.0\.0\.1, ::1/,
      'names',
    ],
  ];
  test.each(bad)(
    'B6: one that is %s is refused, reported once, and forgotten when a good one comes',
    async (_, make, message, reason) => {
      const ca = await mintCa();
      putCa(ca);
      putHub(await mintServer(ca));
      const { current, manager, changes, errors, metrics } = await start({
        certificates: { hubSecretManaged: false },
      });
      const before = current.current();
      putHub(await make(ca));
      for (let minute = 0; minute < 10; minute++) {
        store.resync();
        await clock.advance(60_000);
      }
      expect(current.current()).toBe(before);
      expect(changes).toEqual([]);
      expect(manager.status().problem).toMatch(message);
      expect(manager.checkBundle()).toMatch(message);
      expect(errors()).toHaveLength(1);
      expect(errors()[0]).toMatchObject({ secret: 'cloudcoresecret', reason });
      const exposed = await metrics.expose();
      expect(exposed).toContain(`sallyport_certificate_reloads_total{result="failure",reason="${reason}"} 1`);
      expect(exposed).toContain('sallyport_certificate_last_reload_successful 0');
      const good = await mintServer(ca);
      putHub(good);
      await clock.advance(100);
      expect(current.current().server.sha256).toBe(good.sha256);
      expect(manager.status().problem).toBeUndefined();
      expect(await metrics.expose()).toContain('sallyport_certificate_last_reload_successful 1');
      expect(store.writes).toEqual([]);
    },
  );

  test('B6: when the watch is dead, the periodic read finds the change', async () => {
    const ca = await mintCa();
    putCa(ca);
    const { current } = await start();
    store.watchDead = true;
    const next = await mintServer(ca);
    putHub(next);
    await clock.advance(10_000);
    expect(current.current().server.sha256).not.toBe(next.sha256);
    store.resync();
    await clock.advance(100);
    expect(current.current().server.sha256).toBe(next.sha256);
  });

  test('B7: certificate and key that arrive as two updates become one change, and nothing is issued in between', async () => {
    const ca = await mintCa();
    putCa(ca);
    const { manager, changes } = await start();
    const [next, writes] = [await mintServer(ca), store.writes.length];
    const old = store.peek('cloudcoresecret')!;
    store.put({ ...old, data: { ...old.data, cloudcoredata: next.der } });
    await clock.advance(5_000);
    expect(manager.status().problem).toMatch(/key does not belong/);
    expect(changes).toEqual([]);
    putHub(next);
    await clock.advance(60_000);
    expect(changes.map(({ server }) => server.sha256)).toEqual([next.sha256]);
    expect(store.writes).toHaveLength(writes);
    expect(manager.status().problem).toBeUndefined();
  });

  test('A9: a Secret of cert-manager is followed, and its disappearance is not mended here', async () => {
    const ca = await mintCa();
    putCa(ca);
    const put = (hub: Pair) =>
      store.put({
        name: 'cloudcoresecret',
        type: 'kubernetes.io/tls',
        data: { 'tls.crt': Buffer.from(hub.pem), 'tls.key': Buffer.from(hub.key), 'ca.crt': ca.der },
      });
    put(await mintServer(ca));
    const { current, manager } = await start();
    const next = await mintServer(ca);
    put(next);
    await clock.advance(100);
    expect(current.current().server.sha256).toBe(next.sha256);
    store.remove('cloudcoresecret');
    await clock.advance(120_000);
    expect(current.current().server.sha256).toBe(next.sha256);
    expect(store.writes).toEqual([]);
    await expect(manager.rotateHub()).rejects.toMatchObject({ code: 'HUB_NOT_MANAGED' });
    expect(manager.status().certificates.find(({ kind }) => kind === 'hub')?.managed).toBe(false);
  });
});

describe('recovery of the hub Secret', () => {
  const damages: [string, () => void][] = [
    ['vanishes', () => store.remove('cloudcoresecret')],
    ['loses a key', () => store.put({ name: 'cloudcoresecret', data: { cloudcoredata: Buffer.from('x') } })],
    [
      'holds garbage',
      () =>
        store.put({
          name: 'cloudcoresecret',
          data: { cloudcoredata: Buffer.from('x'), cloudcorekeydata: Buffer.from('y') },
        }),
    ],
  ];
  test.each(damages)(
    'when it %s, the last good bundle goes on and it is issued anew from the same CA',
    async (_, damage) => {
      const { current, manager, changes } = await start();
      const before = current.current();
      damage();
      await clock.advance(5_000);
      expect(current.current()).toBe(before);
      expect(manager.status().problem).toBeDefined();
      await advanceUntil(clock, () => changes.length > 0);
      await clock.advance(1_000);
      expect(current.current().ca).toEqual(before.ca);
      expect(store.peek('cloudcoresecret')?.data.cloudcoredata).toEqual(
        new X509Certificate(current.current().server.cert).raw,
      );
      expect(manager.status().problem).toBeUndefined();
      expect(writesTo('casecret')).toBe(1);
    },
  );

  test('a store that fails during the repair is asked again until it answers', async () => {
    const { current, manager, changes, errors } = await start();
    const before = current.current();
    store.remove('cloudcoresecret');
    store.fault = () => {
      throw new SallyportError('SECRET_STORE_UNAVAILABLE', { problem: 'status 500' });
    };
    await clock.advance(10 * 60_000);
    expect(current.current()).toBe(before);
    expect(manager.status().problem).toMatch(/status 500/);
    expect(errors()).toHaveLength(2);
    store.fault = () => {};
    await advanceUntil(clock, () => changes.length > 0);
    await clock.advance(1_000);
    expect(manager.status().problem).toBeUndefined();
  });
});

describe('the CA Secret of a running hub', () => {
  test('A5: vanishes: the CA in use goes on, is never written again, and everyone can see it', async () => {
    const { current, manager, prepared } = await start();
    store.remove('casecret');
    await clock.advance(10 * 60_000);
    expect(current.authority().certificate).toEqual(prepared.ca.certificate);
    expect(manager.caMatchesStore()).toBe(false);
    expect(() => manager.checkCa()).toThrow(/vanished/);
    expect(store.peek('casecret')).toBeUndefined();
    store.put(prepared.ca.toSecret('casecret'));
    await clock.advance(100);
    expect(manager.caMatchesStore()).toBe(true);
    expect(manager.status().problem).toBeUndefined();
  });

  test('A5: turns into garbage: the last good CA goes on', async () => {
    const { manager, changes } = await start();
    store.put({ name: 'casecret', data: { cadata: Buffer.from('x'), cakeydata: Buffer.from('y') } });
    await clock.advance(60_000);
    expect(manager.status().problem).toMatch(/secret casecret: .*cadata/);
    expect(manager.caMatchesStore()).toBe(false);
    expect(changes).toEqual([]);
    expect(writesTo('casecret')).toBe(1);
  });

  test('A5, C3: turns into another valid CA: never a silent switch; nodes of the old CA are counted, nothing is written', async () => {
    const edge = { issuer: '' };
    const { current, manager, changes, errors, metrics, prepared } = await start({
      nodesNotIssuedBy: (cas) => (edge.issuer === '' || cas.has(edge.issuer) ? 0 : 7),
    });
    edge.issuer = prepared.ca.certificate.sha256;
    const other = await mintCa();
    putCa(other);
    await clock.advance(1_000);
    expect(changes).toEqual([]);
    expect(current.current().ca).toEqual(prepared.ca.certificate);
    expect(current.authority().certificate).toEqual(current.current().ca);
    expect(() => manager.checkCa()).toThrow(other.sha256);
    expect(errors()).toHaveLength(1);
    expect(errors()[0]).toMatchObject({ reason: 'ca-changed', nodesOnOtherCa: 7 });
    expect(await metrics.expose()).toContain('sallyport_nodes_not_trusted_by_wanted_ca 7');
    store.remove('cloudcoresecret');
    await clock.advance(10 * 60_000);
    await expect(manager.rotateHub()).rejects.toMatchObject({ code: 'CA_INVALID' });
    expect(store.peek('cloudcoresecret')).toBeUndefined();
    store.put(prepared.ca.toSecret('casecret'));
    await advanceUntil(clock, () => changes.length > 0);
    await clock.advance(1_000);
    expect(manager.caMatchesStore()).toBe(true);
    expect(manager.status().problem).toBeUndefined();
  });

  test('C3: the same CA in another encoding is taken over, with the key bytes that tokens are signed with', async () => {
    const ca = await mintCa();
    putCa(ca);
    const { current, manager, changes } = await start();
    store.put({ name: 'casecret', data: { cadata: Buffer.from(ca.pem), cakeydata: Buffer.from(ca.key) } });
    await clock.advance(100);
    expect(Buffer.from(current.authority().rawKey).toString()).toBe(ca.key);
    expect(manager.caMatchesStore()).toBe(true);
    expect(changes).toEqual([]);
  });
});

describe('client trust', () => {
  test('C2: a second CA of the same name and serial, without key identifiers, is trusted beside the first, and taken away again', async () => {
    const old = await mintCa({ serial: '0400', keyIdentifiers: false });
    const ca = await mintCa({ serial: '0400', keyIdentifiers: false });
    putCa(ca);
    const { current } = await start();
    store.put({ name: 'sallyport-trust', data: { 'old.pem': Buffer.from(old.pem) } });
    await clock.advance(100);
    expect(sha256s(current.current())).toEqual([ca.sha256, old.sha256]);
    const edge = await mintEdge(old, 'edge-1');
    const [first, second] = current.current().clientCAs.map(({ der }) => new X509Certificate(der));
    expect(edge.certificate.verify(first!.publicKey)).toBe(false);
    expect(edge.certificate.verify(second!.publicKey)).toBe(true);
    store.remove('sallyport-trust');
    await clock.advance(100);
    expect(sha256s(current.current())).toEqual([ca.sha256]);
  });

  test('trust ends even while the hub Secret is damaged, and a damaged trust Secret leaves trust as it is', async () => {
    const [ca, old] = await Promise.all([mintCa(), mintCa()]);
    putCa(ca);
    store.put({ name: 'sallyport-trust', data: { old: old.der } });
    const { current, manager } = await start();
    store.put({ name: 'sallyport-trust', data: { old: Buffer.from('x') } });
    await clock.advance(100);
    expect(sha256s(current.current())).toEqual([ca.sha256, old.sha256]);
    expect(manager.status().problem).toMatch(/sallyport-trust/);
    store.put({ name: 'cloudcoresecret', data: {} });
    store.remove('sallyport-trust');
    await clock.advance(100);
    expect(sha256s(current.current())).toEqual([ca.sha256]);
  });
});

describe('renewal', () => {
  test('B4: at two thirds of its life one of three replicas renews, all load it, the CA is untouched', async () => {
    const began = clock.now();
    const certificates = { checkMs: 24 * HOUR_MS };
    const replicas = await Promise.all(
      [store, store.connect(), store.connect()].map((on) => start({ on, certificates })),
    );
    const first = replicas[0]!.current.current().fingerprint;
    await clock.advance(59 * DAY_MS);
    expect(replicas.map(({ current }) => current.current().fingerprint)).toEqual([first, first, first]);
    await advanceUntil(clock, () => replicas.every(({ changes }) => changes.length > 0), HOUR_MS);
    expect(clock.now() - began).toBeLessThan(62 * DAY_MS);
    await clock.advance(10 * 60_000);
    const [renewed] = replicas.map(({ current }) => current.current());
    for (const { current, changes } of replicas) {
      expect(current.current().fingerprint).toBe(renewed!.fingerprint);
      expect(changes).toHaveLength(1);
    }
    expect(writesTo('cloudcoresecret')).toBe(2);
    expect(writesTo('casecret')).toBe(1);
    expect(renewed!.notAfter.getTime()).toBeLessThanOrEqual(renewed!.ca.notAfter.getTime());
  });

  test('rotateHub resolves when the new certificate is the current one; a late snapshot does not bring the old one back', async () => {
    const { current, manager, changes } = await start();
    const before = current.current();
    store.watchDead = true;
    const old = store.peek('cloudcoresecret')!;
    await manager.rotateHub();
    const rotated = current.current();
    expect(rotated.fingerprint).not.toBe(before.fingerprint);
    expect(rotated.server.names).toEqual(before.server.names);
    const stored = store.peek('cloudcoresecret')!;
    store.peek = (name) =>
      name === 'cloudcoresecret' ? old : MemorySecretStore.prototype.peek.call(store, name);
    store.resync();
    await clock.advance(1_000);
    expect(current.current()).toBe(rotated);
    store.peek = (name) =>
      name === 'cloudcoresecret' ? stored : MemorySecretStore.prototype.peek.call(store, name);
    store.resync();
    await clock.advance(1_000);
    expect(changes).toEqual([rotated]);
  });

  test('two replicas that rotate at once both succeed, one after the other', async () => {
    const [one, two] = await Promise.all([start(), start({ on: store.connect() })]);
    await Promise.all([one.manager.rotateHub(), two.manager.rotateHub()]);
    await clock.advance(1_000);
    expect(writesTo('cloudcoresecret')).toBe(3);
    expect(one.current.current().fingerprint).toBe(two.current.current().fingerprint);
  });
});

describe('B1: advertised addresses', () => {
  test('a new one is in the certificate at once, from the same CA', async () => {
    const { current, manager, changes } = await start();
    const before = current.current();
    await manager.setAddresses([...addresses, 'lb.example.com', 'fd00::1']);
    expect(current.current().server.names).toEqual([
      'localhost',
      'lb.example.com',
      '127.0.0.1',
      '::1',
      'fd00::1',
    ]);
    expect(current.current().ca).toEqual(before.ca);
    expect(changes).toHaveLength(1);
    expect(writesTo('casecret')).toBe(1);
  });

  test('one that is no longer wanted changes nothing, and goes at the next rotation', async () => {
    const { current, manager, changes } = await start();
    await manager.setAddresses(['localhost']);
    expect(changes).toEqual([]);
    await manager.rotateHub();
    expect(current.current().server.names).toEqual(['localhost']);
  });

  test('B2: an invalid one is refused and the others stay as they were', async () => {
    const { manager } = await start();
    await expect(manager.setAddresses(['https://x'])).rejects.toMatchObject({ code: 'ADDRESS_INVALID' });
    expect(manager.status().problem).toBeUndefined();
  });

  test('two replicas with different addresses do not take turns', async () => {
    const [one, two] = await Promise.all([
      start({ addresses: ['a.example'] }),
      start({ on: store.connect(), addresses: ['b.example'] }),
    ]);
    await clock.advance(10 * 60_000);
    await advanceUntil(
      clock,
      () =>
        one.current.current().server.names.length === 2 && two.current.current().server.names.length === 2,
    );
    const writes = writesTo('cloudcoresecret');
    await clock.advance(10 * 60_000);
    expect(writesTo('cloudcoresecret')).toBe(writes);
    expect(writes).toBeLessThanOrEqual(3);
  });

  test('a store that is down delays it, and the attempt is repeated', async () => {
    const { current, manager, changes } = await start();
    store.fault = () => {
      throw new SallyportError('SECRET_STORE_UNAVAILABLE', { problem: 'down' });
    };
    await expect(manager.setAddresses([...addresses, 'late.example'])).rejects.toMatchObject({
      code: 'SECRET_STORE_UNAVAILABLE',
    });
    expect(manager.status().problem).toMatch(/late\.example/);
    store.fault = () => {};
    await advanceUntil(clock, () => changes.length > 0);
    expect(current.current().server.names).toContain('late.example');
  });

  test('a certificate that somebody else keeps is not touched, and what it lacks is told', async () => {
    await start();
    const { manager } = await start({ certificates: { hubSecretManaged: false } });
    const writes = store.writes.length;
    await expect(manager.setAddresses(['x.example'])).rejects.toThrow(/does not name x\.example/);
    expect(store.writes).toHaveLength(writes);
  });
});

test('L1: status and metrics tell what is in use, and forget what is not', async () => {
  const { current, manager, metrics } = await start();
  const [ca, hub] = manager.status().certificates;
  expect(ca).toMatchObject({ kind: 'ca', secret: 'casecret', subject: 'CN=KubeEdge', managed: false });
  expect(hub).toMatchObject({
    kind: 'hub',
    names: addresses,
    managed: true,
    external: false,
    issuer: 'CN=KubeEdge',
  });
  expect(manager.status().wantedFingerprint).toBe(current.current().fingerprint);
  expect(await metrics.expose()).toContain(
    `certificate_not_after_timestamp_seconds{kind="hub",subject="O=Sallyport, CN=sallyport-hub",serial="${hub!.serial}"} ${Date.parse(hub!.notAfter) / 1000}`,
  );
  await manager.rotateHub();
  expect(await metrics.expose()).not.toContain(hub!.serial);
});

test('an expired bundle is found by the health check', async () => {
  const ca = await mintCa();
  putCa(ca);
  putHub(await mintServer(ca, { notAfter: new Date(clock.now() + DAY_MS) }));
  const { manager } = await start({ certificates: { hubSecretManaged: false, checkMs: HOUR_MS } });
  expect(manager.checkBundle()).toBeUndefined();
  await clock.advance(DAY_MS + HOUR_MS);
  expect(() => manager.checkBundle()).toThrow(/expired/);
  expect(manager.status().problem).toMatch(/expired/);
});

test('A10: at the most verbose level no key appears in any encoding, whatever goes wrong', async () => {
  const { manager, lines, prepared } = await start();
  const secrets = [prepared.ca.rawKey, store.peek('cloudcoresecret')!.data.cloudcorekeydata!];
  const broken = Buffer.from(secrets[1]!);
  broken[30] = broken[30]! ^ 0xff;
  for (const key of [
    broken,
    broken.subarray(0, 60),
    Buffer.from(broken.toString('base64')),
    Buffer.from('hunter2'),
  ]) {
    store.put({
      ...store.peek('cloudcoresecret')!,
      data: { ...store.peek('cloudcoresecret')!.data, cloudcorekeydata: key },
    });
    store.put({ name: 'casecret', data: { ...prepared.ca.toSecret('casecret').data, cakeydata: key } });
    await clock.advance(1_000);
    expect(manager.status().problem).toBeDefined();
  }
  store.put(prepared.ca.toSecret('casecret'));
  await whileAdvancing(clock, manager.rotateHub());
  secrets.push(store.peek('cloudcoresecret')!.data.cloudcorekeydata!);
  await clock.advance(20_000);
  const text = `${lines()}${JSON.stringify(manager.status())}`;
  expect(text).not.toContain('PRIVATE KEY');
  expect(text).not.toContain('hunter2');
  for (const secret of secrets) {
    // The 32 secret bytes of a SEC1 key begin at offset 7; any 12 of them in a row would be a leak.
    const bytes = Buffer.from(secret).subarray(7, 39);
    for (let at = 0; at + 12 <= bytes.length; at++) {
      const part = bytes.subarray(at, at + 12);
      expect(text.toLowerCase()).not.toContain(part.toString('hex'));
      expect(text).not.toContain(part.toString('base64'));
      expect(text).not.toContain(part.toString('base64url'));
      expect(text).not.toContain([...part].join(','));
    }
  }
});
