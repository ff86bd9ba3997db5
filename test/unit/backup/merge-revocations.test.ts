import { expect, test } from 'vitest';
import { leapAhead, mergeRevocations } from '../../../src/backup/merge-revocations.ts';
import { RevocationList } from '../../../src/certs/revocation/revocation-list.ts';
import { listOf, revocation } from '../../support/pki/backups.ts';

const NOW = Date.UTC(2026, 10, 24);
const peer = (nodeName: string, notBefore = 0) => ({
  nodeName,
  serial: '0A',
  issuerSha256: 'a'.repeat(64),
  notBefore,
});

test('whoever either list shuts out is out, and the version grows beyond both', () => {
  const living = listOf(revocation('edge-1'), revocation('edge-2'));
  const backup = listOf(revocation('edge-2'), revocation('edge-3'), revocation('edge-4'));
  const { list, shutOut } = mergeRevocations(living, backup);
  for (const node of ['edge-1', 'edge-2', 'edge-3', 'edge-4']) expect(list.find(peer(node))).toBeDefined();
  expect(list.version).toBe(4);
  expect(shutOut).toEqual(['node edge-3', 'node edge-4']);
  expect(list.get({ node: 'edge-3' })!.version).toBe(4);
});

test('a living list that has all of it stays the very same', () => {
  const backup = listOf(revocation('edge-1'));
  const living = backup.add(revocation('edge-2'));
  expect(mergeRevocations(living, backup)).toEqual({ list: living, shutOut: [] });
  expect(mergeRevocations(living, backup).list).toBe(living);
});

test('what was lifted since the backup is shut out again, and named', () => {
  const backup = listOf(revocation('edge-1'));
  const living = backup.lift({ node: 'edge-1' });
  const { list, shutOut } = mergeRevocations(living, backup);
  expect(list.findNode('edge-1')).toBeDefined();
  expect(shutOut).toEqual(['node edge-1']);
});

test('a node that was let rejoin since the backup may still do so: it is the same decision, later', () => {
  const backup = listOf(revocation('edge-1'));
  const living = backup.letRejoin({ node: 'edge-1' }, NOW);
  const { list } = mergeRevocations(living, backup);
  expect(list).toBe(living);
  expect(list.findNode('edge-1')).toBeUndefined();
});

test('of two decisions about one node the firmer holds, and certificates seen by either stay out', () => {
  const seen = [{ serial: 'A1', issuerSha256: 'a'.repeat(64) }];
  const backup = RevocationList.EMPTY.add(revocation('edge-1'), seen);
  const living = listOf(
    revocation('edge-1', { reason: 'certificateHold', at: NOW, by: 'ben' }),
    revocation('edge-9', { at: NOW }),
  );
  const { list } = mergeRevocations(living, backup);
  expect(list.get({ node: 'edge-1' })).toMatchObject({ reason: 'keyCompromise', certificates: seen });
  const other = mergeRevocations(
    backup.add(revocation('edge-8')),
    listOf(revocation('edge-1', { reason: 'certificateHold', at: NOW })),
  );
  expect(other.list.get({ node: 'edge-1' })).toMatchObject({ reason: 'keyCompromise' });
});

test('a younger list with a lower version, of a gateway that began anew, gets a version beyond the backup', () => {
  const backup = listOf(revocation('edge-1'), revocation('edge-2'), revocation('edge-3'));
  const living = RevocationList.EMPTY;
  expect(mergeRevocations(living, backup).list.version).toBe(4);
  const same = mergeRevocations(new RevocationList(1, []), new RevocationList(5, []));
  expect(same.list.version).toBe(6);
});

test('G7: a list whose successors are lost leaps ahead of every version they can have had', () => {
  const list = listOf(revocation('edge-1'));
  expect(leapAhead(list, { sinceMs: 86_400_000 }).version).toBe(1 + 86_400 + 1);
  expect(leapAhead(list, { sinceMs: -5 }).version).toBe(2);
  expect(leapAhead(list, { sinceMs: 0 }).entries).toEqual(list.entries);
});
