import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeRevocations,
  encodeRevocations,
  LIST_FIELD,
  MAX_LIST_BYTES,
} from '../../../../src/certs/revocation/revocation-codec.ts';
import { type RevocationDraft, RevocationList } from '../../../../src/certs/revocation/revocation-list.ts';
import { isSallyportError } from '../../../../src/core/errors.ts';
import { scaled } from '../../../support/scale.ts';

const NOW = Date.UTC(2026, 10, 23);
const CA = 'a'.repeat(64);
const OTHER_CA = 'b'.repeat(64);
const peer = (nodeName: string, serial = '0F01', more: object = {}) => ({
  nodeName,
  serial,
  issuerSha256: CA,
  notBefore: NOW - 86_400_000,
  ...more,
});
const draft = (target: RevocationDraft['target'], more: Partial<RevocationDraft> = {}): RevocationDraft => ({
  target,
  reason: 'keyCompromise',
  at: NOW,
  by: 'admin',
  ...more,
});
const { EMPTY } = RevocationList;
const secretOf = (bytes: Uint8Array) => ({ name: 'sallyport-revocations', data: { [LIST_FIELD]: bytes } });

describe('G7: the list of revocations', () => {
  test('a node is shut out under its name, whatever its certificate, and may not join', () => {
    const list = EMPTY.add(draft({ node: 'edge-1' }));
    expect(list.version).toBe(1);
    expect(list.find(peer('edge-1', '99'))?.target).toEqual({ node: 'edge-1' });
    expect(list.find(peer('edge-2'))).toBeUndefined();
    expect(list.find(peer(''))).toBeUndefined();
    expect([list.findNode('edge-1')?.by, list.findNode('edge-2')]).toEqual(['admin', undefined]);
  });

  test('a serial is one, however it is written; with a CA it means that CA alone', () => {
    const any = EMPTY.add(draft({ serial: '00:0f:01' }));
    for (const serial of ['0F01', 'f01', '000F01']) expect(any.find(peer('edge-1', serial))).toBeDefined();
    expect(any.find(peer('', '0F01', { issuerSha256: OTHER_CA }))).toBeDefined();
    expect(any.findNode('edge-1')).toBeUndefined();
    const one = EMPTY.add(draft({ serial: 'F01', issuerSha256: OTHER_CA }));
    expect(one.find(peer('edge-1', '0F01'))).toBeUndefined();
    expect(one.find(peer('edge-1', '0F01', { issuerSha256: OTHER_CA }))).toBeDefined();
  });

  test('the same again changes nothing, a quarantine does not weaken a revocation, a revocation replaces a quarantine', () => {
    const held = EMPTY.add(draft({ node: 'edge-1' }, { reason: 'certificateHold' }));
    expect(held.add(draft({ node: 'edge-1' }, { reason: 'certificateHold', at: NOW + 5 }))).toBe(held);
    const revoked = held.add(draft({ node: 'edge-1' }));
    expect([revoked.version, revoked.entries.length, revoked.findNode('edge-1')?.reason]).toEqual([
      2,
      1,
      'keyCompromise',
    ]);
    expect(revoked.add(draft({ node: 'edge-1' }, { reason: 'certificateHold' }))).toBe(revoked);
  });

  test('lift removes the entry and nothing else; what is not there cannot be lifted', () => {
    const list = EMPTY.add(draft({ node: 'edge-1' })).add(draft({ serial: '0F01' }));
    const lifted = list.lift({ node: 'edge-1' });
    expect([lifted.version, lifted.find(peer('edge-1', '22'))]).toEqual([3, undefined]);
    expect(lifted.find(peer('edge-1', '0F01'))?.target).toEqual({ serial: 'F01' });
    expect(() => lifted.lift({ node: 'edge-1' })).toThrow(/nothing is revoked for node edge-1/);
  });

  test('a node that may rejoin: new certificates are good, old and seen ones are not, until it is lifted for good', () => {
    const seen = [{ serial: '0F05', issuerSha256: CA }];
    const list = EMPTY.add(draft({ node: 'edge-1' }), seen).letRejoin({ node: 'edge-1' }, NOW + 10_000);
    expect(list.findNode('edge-1')).toBeUndefined();
    expect(list.find(peer('edge-1', '33', { notBefore: NOW + 20_000 }))).toBeUndefined();
    expect(list.find(peer('edge-1', '33', { notBefore: NOW + 9_000 }))).toBeDefined();
    expect(list.find(peer('edge-1', '0F05', { notBefore: NOW + 20_000 }))).toBeDefined();
    expect(list.lift({ node: 'edge-1' }).find(peer('edge-1', '0F05'))).toBeUndefined();
    const again = list.add(draft({ node: 'edge-1' }));
    expect(again.findNode('edge-1')?.certificates).toEqual([{ serial: 'F05', issuerSha256: CA }]);
    expect(() => EMPTY.add(draft({ serial: '01' })).letRejoin({ serial: '01' }, NOW)).toThrow(/only a node/);
  });

  test('certificates a node is seen with are remembered once, the newest eight', () => {
    let list = EMPTY.add(draft({ node: 'edge-1' }));
    const { version } = list.entries[0]!;
    for (let n = 1; n <= 9; n++) list = list.addSeen('edge-1', { serial: `A${n}`, issuerSha256: CA });
    expect(list.entries[0]!.certificates.map(({ serial }) => serial)).toEqual(
      [2, 3, 4, 5, 6, 7, 8, 9].map((n) => `A${n}`),
    );
    expect(list.entries[0]!.version).toBe(version);
    expect(list.addSeen('edge-1', { serial: '0A9', issuerSha256: CA })).toBe(list);
    expect(list.addSeen('edge-2', { serial: '1', issuerSha256: CA })).toBe(list);
  });
});

const targets = fc.oneof(
  fc.record({ node: fc.constantFrom('edge-1', 'edge-2', 'edge-3') }),
  fc.record({ serial: fc.constantFrom('1', '0A', 'ff:01') }),
  fc.record({ serial: fc.constantFrom('1', '0A'), issuerSha256: fc.constantFrom(CA, OTHER_CA) }),
);
const reasons = fc.constantFrom('unspecified', 'certificateHold', 'keyCompromise', 'superseded' as const);
const steps = fc.array(
  fc.record({
    what: fc.constantFrom('add', 'lift', 'rejoin', 'seen'),
    target: targets,
    reason: reasons,
    at: fc.integer({ min: 0, max: 2 ** 41 }),
    note: fc.option(fc.string({ maxLength: 50 }), { nil: undefined }),
  }),
  { maxLength: 25 },
);

describe('the stored list', () => {
  test('whatever was decided, what is read is what was written, and the version never falls', () => {
    fc.assert(
      fc.property(steps, (all) => {
        let list = EMPTY;
        for (const { what, target, note, ...rest } of all) {
          const before = list;
          try {
            if (what === 'add')
              list = list.add({
                ...draft(target),
                ...rest,
                ...(note === undefined ? {} : { note }),
              } as never);
            else if (what === 'lift') list = list.lift(target);
            else if (what === 'rejoin') list = list.letRejoin(target, rest.at);
            else if ('node' in target)
              list = list.addSeen(target.node, { serial: 'AB', issuerSha256: OTHER_CA });
          } catch (error) {
            expect(isSallyportError(error, 'REVOCATION_NOT_FOUND', 'BAD_REQUEST')).toBe(true);
          }
          expect(list.version).toBe(list === before ? before.version : before.version + 1);
        }
        const read = decodeRevocations(secretOf(encodeRevocations(list)));
        expect([read.version, read.entries]).toEqual([list.version, list.entries]);
      }),
      { numRuns: 150 },
    );
  });

  test('anything else is refused as a whole, never read as a shorter list', () => {
    const good = Buffer.from(
      encodeRevocations(
        EMPTY.add(draft({ node: 'edge-1' }), [{ serial: 'F05', issuerSha256: CA }]).add(
          draft({ serial: 'F01', issuerSha256: OTHER_CA }),
        ),
      ),
    ).toString();
    const stored = JSON.parse(good) as { entries: Record<string, unknown>[] } & Record<string, unknown>;
    const [first, second] = stored.entries;
    for (const wrong of [
      '',
      'null',
      '[]',
      '{}',
      good.slice(0, -1),
      JSON.stringify({ ...stored, format: 2 }),
      JSON.stringify({ ...stored, version: -1 }),
      JSON.stringify({ ...stored, version: 1 }),
      JSON.stringify({ ...stored, issuers: ['x'] }),
      JSON.stringify({ ...stored, issuers: [] }),
      JSON.stringify({ ...stored, entries: {} }),
      ...[
        null,
        {},
        { ...first, n: 'Not A Node' },
        { ...first, s: '01' },
        { ...first, r: 8 },
        { ...first, r: 'toString' },
        { ...first, t: 1e300 },
        { ...first, t: '1' },
        { ...first, b: 5 },
        { ...first, c: [['F05', 7]] },
        { ...first, c: [['0f05', 0]] },
        { ...second, s: '0F01' },
        { ...second, s: 'F'.repeat(41) },
        { ...second, j: 5 },
        second,
      ].map((entry) => JSON.stringify({ ...stored, entries: [entry, second] })),
    ])
      expect(() => decodeRevocations(secretOf(Buffer.from(wrong))), wrong).toThrow(/is not usable/);
    expect(() => decodeRevocations(secretOf(Buffer.from([0xff, 0xfe])))).toThrow(/is not usable/);
    expect(() => decodeRevocations({ name: 'x', data: {} })).toThrow(/lacks the key revocations.json/);
  });

  test('random damage is either refused or a list that can be written again', () => {
    const RUNS = scaled(500, 50);
    const good = Buffer.from(
      encodeRevocations(
        EMPTY.add(draft({ node: 'edge-1' }), [{ serial: 'F05', issuerSha256: CA }]).add(
          draft({ serial: 'F01' }),
        ),
      ),
    );
    const refusals = { count: 0 };
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 0, max: 255 })), {
          minLength: 1,
          maxLength: 4,
        }),
        (changes) => {
          const bytes = Buffer.from(good);
          for (const [at, value] of changes) bytes[at] = value;
          try {
            const list = decodeRevocations(secretOf(bytes));
            const again = decodeRevocations(secretOf(encodeRevocations(list)));
            expect(again.entries).toEqual(list.entries);
          } catch (error) {
            expect(isSallyportError(error, 'SECRET_MALFORMED')).toBe(true);
            refusals.count++;
          }
        },
      ),
      { numRuns: RUNS },
    );
    expect(refusals.count).toBeGreaterThan(RUNS / 5);
  });

  test('5,000 nodes with a certificate and a note fit; too many are refused, and the whole stays under 1 MiB', () => {
    const entry = (n: number) => ({
      ...draft({ node: `edge-node-${n}.region-1` }, { note: 'lost with the van' }),
      version: 1,
      certificates: [{ serial: `4F${n.toString(16).padStart(30, '0').toUpperCase()}`, issuerSha256: CA }],
    });
    const many = (count: number) =>
      new RevocationList(
        1,
        Array.from({ length: count }, (_, n) => entry(n)),
      );
    expect(encodeRevocations(many(5_000)).length).toBeLessThan(MAX_LIST_BYTES);
    expect(() => encodeRevocations(many(20_000))).toThrow(/larger than 786432 bytes/);
  });
});
