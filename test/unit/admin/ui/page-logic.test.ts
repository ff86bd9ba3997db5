import { describe, expect, test } from 'vitest';
import { parseChecks } from '../../../../src/admin/ui/checks.js';
import { findings, servedRows } from '../../../../src/admin/ui/findings.js';
import { duration, quote, relative } from '../../../../src/admin/ui/format.js';
import { classicalGroups, selectNodes } from '../../../../src/admin/ui/node-list.js';
import { density, NOW_AT, position, TICKS } from '../../../../src/admin/ui/time-scale.js';
import type { Data, Node } from '../../../../src/admin/ui/types.d.ts';

const DAY = 86_400_000;
const NOW = Date.parse('2026-06-01T00:00:00Z');
const at = (ms: number) => new Date(NOW + ms).toISOString();
const loading = { state: 'loading' } as const;
const ready = <T>(value: T) => ({ state: 'ready', value }) as const;

function data(parts: Partial<Data>): Data {
  const nothing = { info: loading, certificates: loading, served: loading, nodes: loading, checks: loading };
  return {
    ...nothing,
    rejections: loading,
    forecast: loading,
    rollover: loading,
    revocations: loading,
    ...parts,
  };
}
const certificate = (kind: string, from: number, to: number) => ({
  kind,
  secret: 's',
  subject: 'CN=x',
  sha256: 'a',
  serial: '1',
  notBefore: at(from * DAY),
  notAfter: at(to * DAY),
  names: [],
  managed: true,
});
const certificates = (...list: ReturnType<typeof certificate>[]) =>
  ready({ certificates: list, wantedFingerprint: 'aa', lastReload: at(0), listeners: [] });

describe('findings', () => {
  const titles = (parts: Partial<Data>) =>
    findings(data(parts), NOW).map(({ title, level }) => `${level} ${title}`);

  test('there is none while nothing is known, and none when all is well', () => {
    expect(titles({})).toEqual([]);
    expect(
      titles({ certificates: certificates(certificate('hub', -30, 60), certificate('ca', -1000, 2000)) }),
    ).toEqual([]);
  });

  test('C5: a CA is told of 180 days before, and is urgent 30 days before', () => {
    expect(titles({ certificates: certificates(certificate('ca', -3000, 170)) })).toEqual([
      '1 CA CN=x ends in 170 d',
    ]);
    expect(titles({ certificates: certificates(certificate('ca', -3000, 20)) })).toEqual([
      '2 CA CN=x ends in 20 d',
    ]);
    expect(titles({ certificates: certificates(certificate('client-ca', -3000, -3)) })).toEqual([
      '2 CA CN=x ended 3 d ago',
    ]);
  });

  test('a hub certificate that was not renewed is told of by the part of its life that is left', () => {
    expect(titles({ certificates: certificates(certificate('hub', -70, 20)) })).toEqual([
      '1 The hub certificate ends in 20 d',
    ]);
    expect(titles({ certificates: certificates(certificate('hub', -20, 20)) })).toEqual([]);
  });

  test('the urgent come first: failing checks, refused Secrets, drift', () => {
    expect(
      titles({
        checks: ready([
          { name: 'store', ok: true, detail: 'slow' },
          { name: 'bus', ok: false, detail: 'down' },
        ]),
        certificates: ready({ ...certificates(certificate('hub', -70, 20)).value, problem: 'bad key' }),
        served: ready([{ replica: 'hub-0', listener: 'quic', wantedSha256: 'aa', servedSha256: 'bb' }]),
      }),
    ).toEqual([
      '2 Not ready: bus',
      '2 The newest Secrets were refused; the last good certificates stay in use',
      '2 quic of hub-0 does not serve the wanted certificate',
      '1 The hub certificate ends in 20 d',
    ]);
  });

  test('nodes at risk and recent rejections are counted, with a command for the first', () => {
    const forecast = (node: string, verdict: string) => ({
      node,
      verdict,
      certificate: { notAfter: at(DAY) },
    });
    const rejection = {
      replica: 'hub-0',
      reason: 'expired',
      listener: 'quic',
      remoteAddress: '::1',
      count: 3,
      firstAt: at(-9),
      detail: 'd',
    };
    const found = findings(
      data({
        forecast: ready([
          forecast('edge-1', 'ok'),
          forecast('edge 2', 'at-risk'),
          forecast('edge-3', 'expired'),
        ]),
        rejections: ready([
          { ...rejection, lastAt: at(-60_000) },
          { ...rejection, lastAt: at(-2 * DAY) },
        ]),
      }),
      NOW,
    );
    expect(found.map(({ title, command }) => [title, command])).toEqual([
      ['2 nodes will be locked out unless somebody acts', "sallyport token create --node 'edge 2'"],
      ['1 peer rejected within the hour', 'sallyport nodes rejected'],
    ]);
  });

  test('nodes without CloudCore for more than a moment are told of, urgent when it is a tenth of them', () => {
    const node = (state: 'open' | 'waiting', since: number) =>
      ({ node: 'n', upstream: { address: 'cloudcore:10000', state, since: at(since) } }) as Node;
    const open = Array.from({ length: 9 }, () => node('open', -DAY));
    expect(titles({ nodes: ready([...open, node('waiting', -5_000)]) })).toEqual([]);
    expect(titles({ nodes: ready([...open, node('waiting', -60_000)]) })).toEqual([
      '1 1 node of 10 without CloudCore',
    ]);
    expect(titles({ nodes: ready([node('open', -DAY), node('waiting', -60_000)]) })).toEqual([
      '2 1 node of 2 without CloudCore',
    ]);
  });

  test('without proofs by handshake, what this replica says of its listeners is shown', () => {
    const listeners = [{ name: 'https', address: 'x', servedFingerprint: 'aa', servesWanted: true }];
    const [row] = servedRows(
      data({ certificates: ready({ ...certificates().value, listeners }), served: { state: 'missing' } }),
    );
    expect(row).toMatchObject({ listener: 'https', wantedSha256: 'aa', servedSha256: 'aa' });
  });
});

test('checks are read as /readyz?verbose words them', () => {
  const text =
    '[+]ping ok\n[+]store ok (since (a) while)\n[-]bus failed: it is (really) down\nreadyz check failed\n';
  expect(parseChecks(text)).toEqual([
    { name: 'ping', ok: true },
    { name: 'store', ok: true, detail: 'since (a) while' },
    { name: 'bus', ok: false, detail: 'it is (really) down' },
  ]);
  expect(parseChecks('ok')).toEqual([]);
});

test('times are told in the unit one thinks in', () => {
  expect(
    [0, 1_500, 119_000, 120_000, 7_200_000, 47 * 3_600_000, 2 * DAY, 729 * DAY, 730 * DAY].map(duration),
  ).toEqual(['0 s', '1 s', '119 s', '2 min', '2 h', '47 h', '2 d', '729 d', '2.0 y']);
  expect([relative(at(3 * DAY), NOW), relative(at(-5_000), NOW), relative(undefined, NOW)]).toEqual([
    'in 3 d',
    '5 s ago',
    '–',
  ]);
});

test('names are quoted for a shell only where they need it', () => {
  expect(['edge-1', 'a b', "o'neil", '$(x)'].map(quote)).toEqual([
    'edge-1',
    "'a b'",
    "'o'\\''neil'",
    "'$(x)'",
  ]);
});

test('the time line keeps the order of moments, from ten years ago to twenty ahead', () => {
  const moments = [-4000, -365, -30, -1, 0, 1, 7, 30, 90, 365, 3650, 9000].map((days) => NOW + days * DAY);
  const places = moments.map((moment) => position(moment, NOW));
  expect(places).toEqual([...places].sort((a, b) => a - b));
  expect(places[0]).toBe(0);
  expect(places[4]).toBe(NOW_AT);
  expect(places.at(-1)).toBe(1);
  const gaps = TICKS.slice(1).map(({ at: place }, index) => place - TICKS[index]!.at);
  expect(Math.min(...gaps), 'labels must not meet').toBeGreaterThan(0.06);
  const counts = density(moments, NOW, 20);
  expect(counts.reduce((sum, value) => sum + value)).toBe(moments.length);
});

describe('the list of nodes', () => {
  const node = (name: string, more: Partial<Node> = {}): Node => ({
    node: name,
    replica: 'hub-0',
    transport: 'quic',
    remoteAddress: '192.0.2.1',
    connectedSince: at(0),
    lastHeard: at(0),
    certificate: { notAfter: at(DAY), serial: 'AB' },
    queued: 0,
    unacknowledged: 0,
    ...more,
  });
  const nodes = [node('edge-10', { queued: 2 }), node('edge-9'), node('Edge-1', { transport: 'websocket' })];
  const view = { search: '', order: { by: 'Node', descending: false }, page: 0, size: 2 };
  const names = (more: Partial<typeof view>) =>
    selectNodes(nodes, { ...view, ...more }).rows.map(({ node }) => node);

  test('sorts names as people count, and ties by name', () => {
    expect(names({ size: 9 })).toEqual(['Edge-1', 'edge-9', 'edge-10']);
    expect(names({ size: 9, order: { by: 'Queue', descending: true } })).toEqual([
      'edge-10',
      'Edge-1',
      'edge-9',
    ]);
  });

  test('finds by every word, in any column and case', () => {
    expect(names({ search: 'QUIC edge-1' })).toEqual(['edge-10']);
    expect(names({ search: 'quic websocket' })).toEqual([]);
  });

  test('sorts and finds by the CloudCore behind the gateway, where there is one', () => {
    const upstream = (address: string, state: 'open' | 'waiting' = 'open') => ({
      address,
      state,
      since: at(0),
    });
    const relayed = [
      node('edge-1', { upstream: upstream('cc-2:10000') }),
      node('edge-2', { upstream: upstream('cc-1:10000') }),
      node('edge-3', { upstream: upstream('cc-1:10000', 'waiting') }),
    ];
    const select = (more: Partial<typeof view>) =>
      selectNodes(relayed, { ...view, size: 9, ...more }).rows.map(({ node }) => node);
    expect(select({ order: { by: 'CloudCore', descending: false } })).toEqual(['edge-3', 'edge-2', 'edge-1']);
    expect(select({ search: 'cc-1' })).toEqual(['edge-2', 'edge-3']);
  });

  test('L6: says how many nodes negotiate classical groups, and which; finds them by the group', () => {
    const known = (name: string, group: string, postQuantum: boolean) =>
      node(name, { keyExchange: { group, postQuantum } });
    const some = [
      node('over-http3'),
      known('new', 'X25519MLKEM768', true),
      known('old-1', 'X25519', false),
      known('old-2', 'P-256', false),
    ];
    expect(classicalGroups(some)).toBe('2 nodes negotiate classical groups: P-256, X25519');
    expect(classicalGroups(some.slice(0, 3))).toBe('1 node negotiates a classical group: X25519');
    expect(classicalGroups(some.slice(0, 2))).toBeUndefined();
    expect(selectNodes(some, { ...view, search: 'p-256' }).rows.map((one) => one.node)).toEqual(['old-2']);
  });

  test('a page beyond the end is the last one', () => {
    expect(selectNodes(nodes, { ...view, page: 7 })).toMatchObject({ page: 1, pages: 2, total: 3 });
  });
});
