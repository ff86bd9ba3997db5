import { X509Certificate } from 'node:crypto';
import { SubjectAlternativeNameExtension } from '@peculiar/x509';
import { expect, test } from 'vitest';
import { namesOf } from '../../../../src/certs/x509/certificate-names.ts';
import { mintCa, mintServer } from '../../../support/pki/pki.ts';

async function certificateFor(...names: readonly { type: 'dns' | 'ip' | 'email' | 'url'; value: string }[]) {
  const { pem } = await mintServer(await mintCa(), {
    names: [],
    extensions: names.length > 0 ? [new SubjectAlternativeNameExtension([...names])] : [],
  });
  return new X509Certificate(pem);
}

test('DNS names and addresses are read in their order, an address in its one form; other kinds are no names of a hub', async () => {
  const certificate = await certificateFor(
    { type: 'dns', value: 'hub.example.test' },
    { type: 'email', value: 'ops@example.test' },
    { type: 'ip', value: '192.0.2.1' },
    { type: 'ip', value: 'fd00:0:0:0:0:0:0:1' },
    { type: 'url', value: 'https://example.test' },
    { type: 'dns', value: '*.edge.example.test' },
  );
  expect(namesOf(certificate)).toEqual(['hub.example.test', '192.0.2.1', 'fd00::1', '*.edge.example.test']);
});

test('a certificate without the extension has no names', async () => {
  expect(namesOf(await certificateFor())).toEqual([]);
});
