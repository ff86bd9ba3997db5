import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { CertificateAuthority } from '../../../../src/certs/ca/certificate-authority.ts';
import { CHECKS, type Finding, ok, warning } from '../../../../src/cli/doctor/finding.ts';
import { checkHeap, checkOpenFiles } from '../../../../src/cli/doctor/process.ts';
import { exitCodeOf, formatFindings } from '../../../../src/cli/doctor/view.ts';
import { SallyportError } from '../../../../src/core/errors.ts';
import { mintCa, mintServer } from '../../../support/pki/pki.ts';
import { edit, findingsOf, healthy, type Ill, info, patientOf } from './doctor-fixture.ts';

const DAY_MS = 86_400_000;
const one = (status: string, title: RegExp, more: object = {}) =>
  expect.objectContaining({ status, title: expect.stringMatching(title), ...more });

describe('Store & Secrets', () => {
  test('whole Secrets pass, and those nobody needs now are no trouble', async () => {
    const found = await findingsOf('secret-whole');
    expect(found).toContainEqual(one('ok', /^Secret casecret is whole/));
    expect(found).toContainEqual(one('skipped', /^Secret sallyport-trust/));
    expect(found.filter(({ status }) => status === 'failure')).toEqual([]);
  });

  test.each([
    ['casecret', 'cakeydata'],
    ['casecret', 'cadata'],
    ['cloudcoresecret', 'cloudcorekeydata'],
    ['cloudcoresecret', 'cloudcoredata'],
  ])('A3: of Secret %s the missing key %s is named', async (secret, key) => {
    const found = await findingsOf('secret-whole', {
      harm: (store) => edit(store, secret, (data) => delete data[key]),
    });
    const detail = expect.stringContaining(`secret ${secret} lacks the key ${key}`);
    expect(found).toContainEqual(one('failure', new RegExp(`^Secret ${secret} is not usable`), { detail }));
  });

  test('A2: a store that is down is said once, and no Secret counts as missing', async () => {
    const ill: Ill = {
      harm: (store) => {
        store.fault = () => {
          throw new SallyportError('SECRET_STORE_UNAVAILABLE', { problem: 'connect ETIMEDOUT' });
        };
      },
    };
    expect(await findingsOf('store-reachable', ill)).toEqual([
      one('failure', /^the store cannot be read/, { detail: expect.stringContaining('ETIMEDOUT') }),
    ]);
    const secrets = await findingsOf('secret-whole', ill);
    expect(secrets.every(({ status }) => status === 'skipped')).toBe(true);
  });

  test('drift: a gateway that could not take over the newest Secrets, and one with another CA', async () => {
    const problem = 'the private key does not belong to the certificate';
    const certificates = (more: object) =>
      healthy({ '/api/v1/certificates': { certificates: [], listeners: [], ...more } });
    expect(await findingsOf('store-drift', { answers: certificates({ problem }) })).toEqual([
      one('failure', /newest Secrets are not in use/, { detail: problem }),
    ]);
    const other = certificates({ certificates: [{ kind: 'ca', sha256: 'ff' }] });
    expect(await findingsOf('store-drift', { answers: other })).toEqual([
      one('failure', /another CA than the one stored/),
    ]);
  });
});

describe('Certificates', () => {
  test('C5: the CA warns half a year before its end, and fails in its last week and after it', async () => {
    const at = (days: number) => findingsOf('ca', { harm: (_, clock) => clock.advance(days * DAY_MS) });
    expect(await at(0)).toEqual([one('ok', /^CA CN=KubeEdge: 3\d+d left/)]);
    expect(await at(3_500)).toEqual([one('warning', /left/)]);
    expect(await at(3_645)).toEqual([one('failure', /left/)]);
    expect(await at(3_651)).toEqual([one('failure', /expired/)]);
  });

  test('A4, B4: the hub certificate: due for renewal, expired, of another CA, key of another', async () => {
    const at = (days: number) =>
      findingsOf('hub-certificate', { harm: (_, clock) => clock.advance(days * DAY_MS) });
    expect(await at(10)).toEqual([one('ok', /good for/)]);
    expect(await at(70)).toEqual([one('warning', /should have been renewed/)]);
    expect(await at(100)).toEqual([
      one('failure', /not usable/, { detail: expect.stringContaining('expired at') }),
    ]);
    const stranger = await mintServer(await mintCa());
    const foreign = await findingsOf('hub-certificate', {
      harm: (store) =>
        edit(store, 'cloudcoresecret', (data) => {
          data.cloudcoredata = stranger.der;
          data.cloudcorekeydata = stranger.privateKey.export({ type: 'sec1', format: 'der' });
        }),
    });
    expect(foreign).toEqual([
      one('failure', /not usable/, { detail: expect.stringContaining('was issued by') }),
    ]);
    const mixed = await findingsOf('hub-certificate', {
      harm: (store) =>
        edit(store, 'cloudcoresecret', (data) => {
          data.cloudcorekeydata = stranger.privateKey.export({ type: 'sec1', format: 'der' });
        }),
    });
    expect(mixed).toEqual([
      one('failure', /not usable/, { detail: expect.stringContaining('does not belong') }),
    ]);
  });

  test('the clock: against the gateway, and against a certificate that has not begun', async () => {
    const gateway = (now: string) => findingsOf('clock', { answers: healthy({ '/api/v1/info': info(now) }) });
    expect(await gateway('2026-01-01T00:00:20.000Z')).toEqual([one('ok', /agree/)]);
    expect(await gateway('2026-01-01T00:02:00.000Z')).toEqual([one('warning', /2m behind/)]);
    expect(await gateway('2025-12-31T23:00:00.000Z')).toEqual([one('failure', /1h ahead of/)]);
    const ca = await mintCa({ notBefore: new Date('2025-01-01'), notAfter: new Date('2035-01-01') });
    const early = await mintServer(ca, {
      notBefore: new Date('2026-02-01'),
      notAfter: new Date('2027-01-01'),
    });
    const found = await findingsOf('clock', {
      harm: (store) =>
        edit(store, 'cloudcoresecret', (data) => {
          data.cloudcoredata = early.der;
          data.cloudcorekeydata = early.privateKey.export({ type: 'sec1', format: 'der' });
        }),
    });
    expect(found).toEqual([one('failure', /begins only in 31d/)]);
  });
});

describe('Addresses', () => {
  test('B1: an address that is advertised and not named by the hub certificate', async () => {
    expect(await findingsOf('hub-names')).toEqual([one('ok', /names every address/)]);
    const settings = { 'advertise.addresses': 'localhost,10.9.8.7' };
    expect(await findingsOf('hub-names', { settings })).toEqual([
      one('failure', /not covered/, { detail: expect.stringContaining('does not name 10.9.8.7') }),
    ]);
  });
});

describe('Listeners', () => {
  test.each([
    ['ECONNREFUSED', /refused: nothing listens at hub:10010/],
    ['SELF_SIGNED_CERT_IN_CHAIN', /wrong CA: hub:10010/],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', /wrong CA: hub:10010/],
    ['ERR_TLS_CERT_ALTNAME_INVALID', /TLS: .* does not name it/],
    ['CERT_HAS_EXPIRED', /TLS: .* has expired/],
    ['EPROTO', /TLS: hub:10010 does not speak TLS/],
    ['ETIMEDOUT', /no answer in time/],
  ])('a gateway that does not answer with %s says why', async (code, why) => {
    const cause = Object.assign(new Error('x'), { code });
    const unreachable = new SallyportError('ADMIN_UNREACHABLE', { address: 'hub:10010' }, cause);
    expect(await findingsOf('gateway', { unreachable })).toEqual([
      one('failure', /does not answer/, { detail: expect.stringMatching(why) }),
    ]);
  });

  test('another replica that serves another certificate is named, where gateways tell', async () => {
    const item = { replica: 'hub-2', listener: 'quic', checkedAt: 'now', problem: 'the swap failed' };
    const answers = healthy({ '/api/v1/certificates/served': { items: [item] } });
    expect(await findingsOf('served', { answers })).toEqual([one('failure', /quic of replica hub-2/)]);
  });
});

describe('Tokens, backups, nodes', () => {
  test('L8: a namesake of the gateway is a warning', async () => {
    const named = (more: object) =>
      findingsOf('replica-name', {
        answers: healthy({ '/api/v1/info': info('2026-01-01T00:00:00.000Z', { replica: 'hub-1', ...more }) }),
      });
    expect(await named({})).toEqual([]);
    expect(await named({ namesake: 'set hub.replica' })).toEqual([one('warning', /is named hub-1 too/)]);
  });

  const token = (exp: number, hash = 'ab') => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    return Buffer.from(`${hash}.${part({ alg: 'HS256' })}.${part({ exp })}.signature`);
  };

  test('E1: the fleet token: good, past half its life, expired, of another CA, garbage; never shown', async () => {
    const now = Date.UTC(2026, 0, 1) / 1000;
    const hash = 'ab'.repeat(32);
    const answers = healthy({ '/api/v1/info': info('2026-01-01T00:00:00.000Z', { caSha256: hash }) });
    const stored = (tokendata: Buffer) =>
      findingsOf('fleet-token', {
        answers,
        harm: (store) => void store.put({ name: 'tokensecret', data: { tokendata } }),
      });
    expect(await stored(token(now + 80_000, hash))).toEqual([one('ok', /good for 22h/)]);
    expect(await stored(token(now + 30_000, hash))).toEqual([one('warning', /less than half its life/)]);
    expect(await stored(token(now - 7_200, hash))).toEqual([one('failure', /expired 2h ago/)]);
    expect(await stored(token(now + 80_000, 'cd'.repeat(32)))).toEqual([one('failure', /another CA/)]);
    const garbage = await stored(Buffer.from('hunter2'));
    expect(garbage).toEqual([one('failure', /cannot be read/)]);
    expect(JSON.stringify(garbage)).not.toContain('hunter2');
  });

  test('a backup: none yet of a new CA, none of an old one, old, of another CA', async () => {
    const record = (at: string, caSha256: string[]) =>
      healthy({ '/api/v1/backup': { last: { at, caSha256 }, coversCa: false } });
    const later = (days: number): Ill => ({ harm: (_, clock) => clock.advance(days * DAY_MS) });
    expect(await findingsOf('backup')).toEqual([one('skipped', /no backup recorded/)]);
    expect(await findingsOf('backup', later(3))).toEqual([one('warning', /no backup recorded/)]);
    const foreign = { ...later(3), answers: record('2026-01-02T00:00:00.000Z', ['ff']) };
    expect(await findingsOf('backup', foreign)).toEqual([one('warning', /not in the last backup/)]);
    const withRecord = (days: number) =>
      findingsOf('backup', {
        harm: async (store, clock) => {
          const ca = CertificateAuthority.fromSecret((await store.get('casecret'))!, { clock });
          const at = new Date(clock.now()).toISOString();
          const value = { at, caSha256: [ca.certificate.sha256], revocationVersion: 1 };
          store.put({
            name: 'sallyport-backup',
            data: { 'last-backup.json': Buffer.from(JSON.stringify(value)) },
          });
          await clock.advance(days * DAY_MS);
        },
      });
    expect(await withRecord(2)).toEqual([one('ok', /2d old, and holds the CA in use/)]);
    expect(await withRecord(40)).toEqual([one('warning', /last backup is 40d old/)]);
  });

  test('L6: nodes that negotiate classical groups are named, which is no trouble', async () => {
    const node = (name: string, group?: string) => ({
      node: name,
      certificate: { notAfter: '2099-01-01T00:00:00Z' },
      ...(group ? { keyExchange: { group, postQuantum: group.includes('MLKEM') } } : {}),
    });
    const found = (...items: object[]) =>
      findingsOf('key-exchange', { answers: healthy({ '/api/v1/nodes': { items } }) });
    expect(await found(node('a', 'X25519MLKEM768'))).toEqual([
      one('ok', /^no node is known to negotiate a classical group$/),
    ]);
    const mixed = [
      node('a', 'X25519MLKEM768'),
      node('h3'),
      node('b', 'X25519'),
      node('c', 'P-256'),
      { ...node('q', 'unknown'), transport: 'quic' },
    ];
    expect(await found(...mixed)).toEqual([
      one('ok', /^3 nodes negotiate classical groups$/, {
        detail: 'X25519: b; P-256: c; one of quic: q; of 1 it is not known: HTTP/3 does not tell',
      }),
    ]);
    expect(await findingsOf('key-exchange')).toEqual([]);
  });

  test('nodes: near the end of their certificate, at risk by their past, refused within a day', async () => {
    const node = (name: string, notAfter: string) => ({ node: name, certificate: { notAfter } });
    const rejection = (reason: string, lastAt: string, more: object) => ({
      reason,
      lastAt,
      listener: 'websocket',
      remoteAddress: '10.0.0.9',
      count: 12,
      fix: `what to do about ${reason}`,
      ...more,
    });
    const answers = healthy({
      '/api/v1/nodes': {
        items: [node('edge-1', '2026-01-05T00:00:00.000Z'), node('edge-2', '2026-12-01T00:00:00.000Z')],
      },
      '/api/v1/nodes/forecast': {
        items: [
          { node: 'edge-3', verdict: 'at-risk' },
          { node: 'edge-4', verdict: 'ok' },
        ],
        forgotten: { nodes: 12, since: '2025-12-01T00:00:00.000Z', until: '2026-11-01T00:00:00.000Z' },
      },
      '/api/v1/rejections': {
        items: [
          rejection('expired', '2025-12-31T23:00:00.000Z', { node: 'edge-5' }),
          rejection('unknown-ca', '2025-12-31T23:00:00.000Z', { claimedNode: 'edge-6' }),
          rejection('revoked', '2025-12-01T00:00:00.000Z', { node: 'edge-7' }),
          rejection('no-certificate', '2025-12-31T23:59:00.000Z', {}),
        ],
      },
    });
    expect(await findingsOf('node-expiry', { answers })).toEqual([
      one('warning', /^1 connected nodes/, { detail: 'edge-1 (4d)' }),
    ]);
    expect(await findingsOf('node-forecast', { answers })).toEqual([
      one('warning', /forget 12 nodes \(since 2025-12-01\), which may come back until 2026-11-01$/),
      one('warning', /^1 nodes will be/, { detail: 'edge-3 (at-risk)' }),
    ]);
    expect(await findingsOf('rejections', { answers })).toEqual([
      one('warning', /expired, 1 of them/, { detail: 'edge-5 (12×)', hint: 'what to do about expired' }),
      one('warning', /unknown-ca, 1 of them/, { detail: '10.0.0.9, who says edge-6 (12×)' }),
    ]);
  });
});

describe('Process', () => {
  test('open files and heap are held against the limits that are configured', async () => {
    const { config } = await patientOf();
    expect(await checkOpenFiles({ config }, async () => 1_024)).toEqual([one('warning', /^at most 1024/)]);
    expect(await checkOpenFiles({ config }, async () => 1_000_000)).toEqual([one('ok', /1000000/)]);
    expect(checkHeap({ config }, 512 * 1024 * 1024)).toEqual([one('warning', /512 MiB for 20000 nodes/)]);
    expect(checkHeap({ config }, 8 * 1024 ** 3)).toEqual([one('ok', /8192 MiB/)]);
  });
});

describe('how it is told', () => {
  const fine = ok('ca', 'fine', 'so');
  const low = warning('heap', 'low', { detail: 'very', hint: 'raise it' });
  const bad: Finding = {
    check: 'port',
    status: 'failure',
    title: 'taken',
    detail: 'by x',
    hint: 'free it',
    yaml: 'a: 1',
  };

  test('exit code 0 all is well, 1 warnings, 2 failures; what is skipped is neither', () => {
    expect(exitCodeOf([fine, { ...fine, status: 'skipped' }])).toBe(0);
    expect(exitCodeOf([fine, low])).toBe(1);
    expect(exitCodeOf([fine, low, bad])).toBe(2);
  });

  test('trouble comes with one hint and the place in the docs, and is grouped', () => {
    const text = formatFindings([fine, low, bad], { format: 'table', colour: false });
    expect(text).toBe(`Certificates
  √ fine: so

Process
  ‼ low
      very
      → raise it
      docs/troubleshooting.md#heap

Listeners
  × taken
      by x
      → free it
      docs/troubleshooting.md#port
        a: 1

1 failures, 1 warnings (1 checks passed)`);
    expect(formatFindings([bad], { format: 'table', colour: true })).toContain('\u001b[31m×');
    const json = JSON.parse(formatFindings([fine, bad], { format: 'json', colour: true }));
    expect(json).toMatchObject({
      exitCode: 2,
      summary: { ok: 1, warnings: 0, failures: 1 },
      groups: [
        { name: 'Certificates', findings: [{ check: 'ca', status: 'ok' }] },
        { name: 'Listeners', findings: [{ check: 'port', docs: 'docs/troubleshooting.md#port' }] },
      ],
    });
  });

  test('every check has its section in docs/troubleshooting.md, and no section is of none', () => {
    const text = readFileSync('docs/troubleshooting.md', 'utf8');
    const anchors = [...text.matchAll(/^### `?([a-z-]+)`?$/gm)].map(([, id]) => id);
    expect(anchors.sort()).toEqual(Object.keys(CHECKS).sort());
  });
});
