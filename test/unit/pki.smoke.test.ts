import { expect, test } from 'vitest';
import { mintCa, mintEdge } from '../support/pki/pki.ts';

test('mints edges that chain to their CA', async () => {
  const ca = await mintCa();
  const edge = await mintEdge(ca, 'edge-1');
  expect(edge.certificate.verify(ca.certificate.publicKey)).toBe(true);
  expect(edge.certificate.checkIssued(ca.certificate)).toBe(true);
  expect(edge.certificate.subject).toBe('O=system:nodes\nCN=system:node:edge-1');
});
