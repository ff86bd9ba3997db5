import { expect, test } from 'vitest';
import { describeBundle } from '../../../../src/certs/bundle/certificate-status.ts';
import { bundleOf } from '../../../support/pki/fixed-source.ts';
import { mintCa, mintServer } from '../../../support/pki/pki.ts';

test('external is what somebody else owns: a CA of the trust Secret, not the new CA of a rollover', async () => {
  const [own, next, foreign] = [await mintCa(), await mintCa(), await mintCa()];
  const bundle = bundleOf({ ca: own, server: await mintServer(own), clientCAs: [own, next, foreign] });
  const secrets = { caSecret: 'ca', hubSecret: 'hub', trustSecret: 'trust', rolloverSecret: 'rollover' };
  const describe = (hubManaged: boolean) =>
    describeBundle(bundle, { secrets, hubManaged, rollover: new Set([next.sha256]), own: own.sha256 }).map(
      ({ kind, secret, external }) => [kind, secret, external],
    );
  expect(describe(true)).toEqual([
    ['ca', 'ca', false],
    ['hub', 'hub', false],
    ['client-ca', 'rollover', false],
    ['client-ca', 'trust', true],
  ]);
  expect(describe(false)[1]).toEqual(['hub', 'hub', true]);
});
