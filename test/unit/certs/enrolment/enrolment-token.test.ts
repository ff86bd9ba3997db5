import { createHmac, createSign, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { SignJWT } from 'jose';
import { expect, test } from 'vitest';
import { caHashOf, mintToken, verifyToken } from '../../../../src/certs/enrolment/enrolment-token.ts';
import { SallyportError } from '../../../../src/core/errors.ts';
import { rsaKeys } from '../../../support/pki/csr.ts';
import { scaled } from '../../../support/scale.ts';

const NOW = Date.UTC(2026, 5, 1, 12);
const ownKey = randomBytes(32);
const kubeEdgeKey = randomBytes(121);
const caSha256 = 'ab'.repeat(32);
const options = { ownKey, kubeEdgeKey, caSha256: [caSha256], now: NOW };
const mint = (parts: { nodeName?: string; ttlMs?: number; key?: Uint8Array } = {}) =>
  mintToken({ key: ownKey, caSha256, epoch: 3, now: NOW, ttlMs: 3_600_000, ...parts });
const base64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const seconds = NOW / 1000;

/** A JWT put together by hand, as an attacker would. */
function forge(header: unknown, payload: unknown, key: Uint8Array = kubeEdgeKey): string {
  const signed = `${base64(header)}.${base64(payload)}`;
  return `${signed}.${createHmac('sha256', key).update(signed).digest('base64url')}`;
}

const refusal = async (token: string, now = NOW): Promise<SallyportError> => {
  const error = await verifyToken(token, { ...options, now }).then(
    (verified) => expect.fail(`accepted as ${verified.kind}`),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SallyportError);
  expect((error as SallyportError).status).toBe(401);
  const longPart = token.split('.').find((part) => part.length > 12);
  if (longPart) expect(JSON.stringify([error, (error as Error).message])).not.toContain(longPart);
  return error as SallyportError;
};

test('E5: a node token has four parts, names its node, and verifies whole and as the bare JWT that EdgeCore sends', async () => {
  const { token, expiresAt } = await mint({ nodeName: 'edge-1' });
  expect(token.split('.')).toHaveLength(4);
  expect(caHashOf(token)).toBe(caSha256);
  expect(expiresAt.getTime()).toBe(NOW + 3_600_000);
  const wanted = { kind: 'node', nodeName: 'edge-1', epoch: 3, expiresAt: NOW + 3_600_000, issuedAt: NOW };
  expect(await verifyToken(token, options)).toMatchObject(wanted);
  expect(await verifyToken(token.slice(65), options)).toMatchObject(wanted);
  const other = await verifyToken((await mint({ nodeName: 'edge-1' })).token, options);
  expect(other.id).not.toBe((await verifyToken(token, options)).id);
});

test('E4: a token as CloudCore mints it, HS256 with the raw CA key and exp alone, verifies; ours are signed with another key', async () => {
  const theirs = forge({ alg: 'HS256', typ: 'JWT' }, { exp: seconds + 60 });
  const verified = await verifyToken(`${caSha256}.${theirs}`, options);
  expect(verified).toEqual({ kind: 'kubeedge', id: verified.id, expiresAt: (seconds + 60) * 1000 });
  expect((await verifyToken((await mint()).token, options)).kind).toBe('fleet');
  const signedWithCaKey = await mint({ nodeName: 'edge-1', key: kubeEdgeKey });
  expect((await verifyToken(signedWithCaKey.token, options)).kind).toBe('kubeedge');
  expect((await refusal(forge({ alg: 'HS256' }, { exp: seconds + 60 }, randomBytes(32)))).message).toContain(
    'its signature does not verify',
  );
});

test('E6: alg none, RS256, HS512, and a token without exp are refused, each saying so', async () => {
  const claims = { exp: seconds + 60, sub: 'system:node:edge-1', jti: 'x', iat: seconds, epoch: 3 };
  const none = `${base64({ alg: 'none' })}.${base64(claims)}.`;
  expect((await refusal(none)).message).toContain('not signed with HS256');
  const rs = `${base64({ alg: 'RS256' })}.${base64(claims)}`;
  const signature = createSign('sha256').update(rs).sign(rsaKeys().privateKey).toString('base64url');
  expect((await refusal(`${rs}.${signature}`)).message).toContain('not signed with HS256');
  const hs512 = await new SignJWT(claims).setProtectedHeader({ alg: 'HS512' }).sign(randomBytes(64));
  expect((await refusal(hs512)).message).toContain('not signed with HS256');
  for (const key of [ownKey, kubeEdgeKey]) {
    expect((await refusal(forge({ alg: 'HS256' }, { iat: seconds }, key))).message).toContain(
      'exp is missing',
    );
  }
});

test('E5: a token signed with our key is refused when a claim is missing or names no node', async () => {
  const claims = { exp: seconds + 60, sub: 'system:node:edge-1', jti: 'x', iat: seconds, epoch: 3 };
  expect((await verifyToken(forge({ alg: 'HS256' }, claims, ownKey), options)).kind).toBe('node');
  for (const change of [
    { sub: undefined },
    { sub: 'edge-1' },
    { sub: 'system:node:' },
    { sub: 'system:node:Edge_1' },
    { jti: undefined },
    { jti: '' },
    { jti: 'x'.repeat(65) },
    { iat: undefined },
    { epoch: undefined },
    { epoch: 0.5 },
    { exp: 1e300 },
    { exp: '1' },
  ]) {
    expect((await refusal(forge({ alg: 'HS256' }, { ...claims, ...change }, ownKey))).code).toBe(
      'TOKEN_INVALID',
    );
  }
});

test('E7: an expired token is answered with when it ended and what the clock of the hub says', async () => {
  const { token } = await mint({ nodeName: 'edge-1' });
  await verifyToken(token, { ...options, now: NOW + 3_599_000 });
  const late = await refusal(token, NOW + 3_600_000);
  expect(late.code).toBe('TOKEN_EXPIRED');
  expect(late.message).toBe(
    'the token expired at 2026-06-01T13:00:00.000Z; the clock of this hub says 2026-06-01T13:00:00.000Z',
  );
  expect((await refusal(forge({ alg: 'HS256' }, { exp: seconds - 1 }))).code).toBe('TOKEN_EXPIRED');
  expect((await refusal(forge({ alg: 'HS256' }, { exp: -1e300 }))).status).toBe(401);
});

test('a token that names another CA is refused, whatever its signature', async () => {
  const { token } = await mint();
  expect((await refusal(`${'cd'.repeat(32)}${token.slice(64)}`)).message).toContain('another CA');
  expect((await refusal(`zz${token}`)).message).toContain('not the hash of a CA');
});

test('I15: whatever text arrives as a token, the answer is a SallyportError', async () => {
  const { token } = await mint({ nodeName: 'edge-1' });
  const never = async (text: string) => {
    const error = await verifyToken(text, options).catch((reason: unknown) => reason);
    if (error instanceof Error) expect(error).toBeInstanceOf(SallyportError);
  };
  await fc.assert(fc.asyncProperty(fc.string({ unit: 'binary', maxLength: 200 }), never), {
    numRuns: scaled(500, 50),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.base64String(), { minLength: 2, maxLength: 5 }), (parts) =>
      never(parts.join('.').replace(/[+/=]/g, '_')),
    ),
    { numRuns: scaled(500, 50) },
  );
  await fc.assert(
    fc.asyncProperty(fc.nat(token.length - 1), fc.string({ minLength: 1, maxLength: 1 }), (at, char) =>
      never(token.slice(0, at) + char + token.slice(at + 1)),
    ),
    { numRuns: scaled(500, 50) },
  );
  // Correctly signed, with claims and headers of any type.
  await fc.assert(
    fc.asyncProperty(fc.jsonValue(), fc.jsonValue(), async (claims, header) => {
      await never(forge({ alg: 'HS256' }, claims, ownKey));
      await never(forge({ alg: 'HS256' }, { exp: claims, iat: header, sub: claims, crit: header }, ownKey));
      await never(forge(header, claims));
      await never(forge({ alg: 'HS256', crit: header, b64: claims }, { exp: seconds + 1 }));
    }),
    { numRuns: scaled(300, 50) },
  );
  await never('.'.repeat(100_000));
  await never(`${'A'.repeat(5_000)}.B.C`);
});

test('flipping any character of a token makes it worthless', async () => {
  const { token } = await mint({ nodeName: 'edge-1' });
  await fc.assert(
    fc.asyncProperty(fc.nat(token.length - 2), async (at) => {
      // The last character of the signature carries unused bits, and hexadecimal knows two cases.
      const flipped = token[at] === 'A' ? 'B' : 'A';
      fc.pre(token[at]!.toLowerCase() !== flipped.toLowerCase());
      await refusal(token.slice(0, at) + flipped + token.slice(at + 1));
    }),
    { numRuns: scaled(200, 50) },
  );
});
