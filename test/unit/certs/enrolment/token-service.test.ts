import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { caHashOf } from '../../../../src/certs/enrolment/enrolment-token.ts';
import {
  decodeTokenState,
  encodeTokenState,
  MAX_ENTRIES,
} from '../../../../src/certs/enrolment/token-state-codec.ts';
import type { Secret } from '../../../../src/contracts/secret-store.ts';
import { SallyportError } from '../../../../src/core/errors.ts';
import { DAY_MS, EnrolmentWorld, HOUR_MS } from '../../../support/pki/enrolment.ts';
import { kubeEdgeToken } from '../../../support/pki/kubeedge-token.ts';
import { whileAdvancing } from '../../../support/while-advancing.ts';

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'ok',
    (error: unknown) => (error instanceof SallyportError ? error.code : `${error}`),
  );
const stored = (world: EnrolmentWorld) => world.stored('tokensecret', 'tokendata');

test('E5: a node token works for its node, once; another node, reuse, revocation and lateness have reasons of their own', async () => {
  await using world = await EnrolmentWorld.create();
  const tokens = await world.tokens();
  const { token, expiresAt } = await tokens.createNodeToken('edge-1');
  expect(expiresAt.getTime()).toBe(world.clock.now() + HOUR_MS);
  expect(await codeOf(tokens.verify(token, 'edge-2'))).toBe('TOKEN_OTHER_NODE');
  const verified = await tokens.verify(token, 'edge-1');
  expect(await codeOf(tokens.verify(token, 'edge-1'))).toBe('ok');
  await tokens.consume(verified);
  expect(await codeOf(tokens.consume(verified))).toBe('TOKEN_USED');
  expect(await codeOf(tokens.verify(token, 'edge-1'))).toBe('TOKEN_USED');

  const revoked = await tokens.createNodeToken('edge-1');
  await tokens.revokeAll();
  expect(await codeOf(tokens.verify(revoked.token, 'edge-1'))).toBe('TOKEN_REVOKED');
  const late = await tokens.createNodeToken('edge-1', 2_000);
  await world.clock.advance(2_000);
  expect(await codeOf(tokens.verify(late.token, 'edge-1'))).toBe('TOKEN_EXPIRED');
});

test('E5: of eight replicas that use up one token at the same moment exactly one succeeds', async () => {
  await using world = await EnrolmentWorld.create();
  const replicas = await Promise.all(Array.from({ length: 8 }, () => world.tokens()));
  for (let round = 0; round < 5; round++) {
    const { token } = await replicas[0]!.createNodeToken('edge-1');
    const verified = await Promise.all(replicas.map((one) => one.verify(token, 'edge-1')));
    const results = await Promise.all(
      // Twice each, so that the queue inside a replica is in the race as well.
      replicas.flatMap((one, index) => [
        codeOf(one.consume(verified[index]!)),
        codeOf(one.consume(verified[index]!)),
      ]),
    );
    expect(results.filter((code) => code === 'ok')).toHaveLength(1);
    expect(results.filter((code) => code === 'TOKEN_USED')).toHaveLength(15);
  }
});

test('E5: many tokens used at once on several replicas are all remembered, and share writes', async () => {
  await using world = await EnrolmentWorld.create();
  const replicas = await Promise.all(Array.from({ length: 3 }, () => world.tokens()));
  const minted = await Promise.all(
    Array.from({ length: 60 }, (_, index) => replicas[index % 3]!.createNodeToken(`edge-${index}`)),
  );
  const verified = await Promise.all(
    minted.map(({ token }, index) => replicas[index % 3]!.verify(token, `edge-${index}`)),
  );
  const before = world.writesOf('sallyport-tokens');
  const all = Promise.all(verified.map((token, index) => replicas[index % 3]!.consume(token)));
  await whileAdvancing(world.clock, all, 10);
  expect(world.writesOf('sallyport-tokens') - before).toBeLessThan(20);
  for (const token of verified) expect(await codeOf(replicas[0]!.consume(token))).toBe('TOKEN_USED');
});

test('a used token is remembered until it expires and no longer, so the Secret stays small', async () => {
  await using world = await EnrolmentWorld.create();
  const tokens = await world.tokens();
  const use = async () => {
    const { token } = await tokens.createNodeToken('edge-1');
    await tokens.consume(await tokens.verify(token, 'edge-1'));
    return Object.keys(JSON.parse(world.stored('sallyport-tokens', 'state.json')).usedTokens).length;
  };
  expect(await use()).toBe(1);
  expect(await use()).toBe(2);
  await world.clock.advance(2 * HOUR_MS);
  expect(await use()).toBe(1);
});

/** As many used tokens and renewed certificates as asked for, in the form that is stored. */
function fill(world: EnrolmentWorld, counts: { used: number; renewed: number }): Secret['data'] {
  const state = decodeTokenState(world.store.peek('sallyport-tokens')!);
  const end = world.clock.now() + 3_600_000;
  const entries = (count: number) =>
    new Map(Array.from({ length: count }, () => [randomBytes(12).toString('base64url'), end] as const));
  return encodeTokenState({
    ...state,
    usedTokens: entries(counts.used),
    renewedCertificates: entries(counts.renewed),
  });
}

test('R5: with 30,000 used tokens that have not expired the next node joins, and none is used twice', async () => {
  await using world = await EnrolmentWorld.create();
  const tokens = await world.tokens();
  const { token } = await tokens.createNodeToken('edge-1');
  world.store.put({
    ...world.store.peek('sallyport-tokens')!,
    data: fill(world, { used: 30_000, renewed: 0 }),
  });
  await world.clock.advance(5_000);
  const verified = await tokens.verify(token, 'edge-1');
  await tokens.consume(verified);
  expect(await codeOf(tokens.consume(verified))).toBe('TOKEN_USED');
  const other = await world.tokens();
  expect(await codeOf(other.verify(token, 'edge-1'))).toBe('TOKEN_USED');
  expect(decodeTokenState(world.store.peek('sallyport-tokens')!).usedTokens.size).toBe(30_001);
});

test('a token state that is full refuses more, forgets none, and stays under 1 MiB', async () => {
  await using world = await EnrolmentWorld.create();
  const tokens = await world.tokens();
  const { token } = await tokens.createNodeToken('edge-1');
  const state = world.store.peek('sallyport-tokens')!;
  const data = fill(world, { used: MAX_ENTRIES.usedTokens, renewed: MAX_ENTRIES.renewedCertificates });
  expect(Object.values(data).reduce((sum, value) => sum + value.length, 0)).toBeLessThan(2 ** 20);
  world.store.put({ ...state, data });
  await world.clock.advance(5_000);
  const verified = await tokens.verify(token, 'edge-1');
  expect(await codeOf(tokens.consume(verified))).toBe('TOKEN_STATE_FULL');
  expect(world.store.peek('sallyport-tokens')!.data).toEqual(data);
});

test('what 0.1.0 stored, in JSON alone, is read whole, and what cannot be whole is refused', async () => {
  await using world = await EnrolmentWorld.create();
  await (await world.tokens()).createNodeToken('edge-1');
  const secret = world.store.peek('sallyport-tokens')!;
  const id = 'abcdefghijklmnop';
  const text = JSON.stringify({
    epoch: 0,
    revokedAt: 0,
    usedTokens: { [id]: 4_711 },
    renewedCertificates: {},
  });
  const old = { hmacKey: secret.data.hmacKey!, 'state.json': Buffer.from(text) };
  expect(decodeTokenState({ ...secret, data: old }).usedTokens).toEqual(new Map([[id, 4_711_000]]));
  const torn = { ...old, 'used-tokens.bin': Buffer.alloc(17) };
  expect(() => decodeTokenState({ ...secret, data: torn })).toThrow(/used-tokens.bin is cut off/);
});

test('replicas that start together on an empty store agree on one key, and each accepts what any of them minted', async () => {
  await using world = await EnrolmentWorld.create();
  const replicas = await Promise.all(Array.from({ length: 8 }, () => world.tokens()));
  const minted = await Promise.all(replicas.map((one) => one.createNodeToken('edge-1')));
  for (const one of replicas)
    for (const { token } of minted) expect(await codeOf(one.verify(token, 'edge-1'))).toBe('ok');
  const key = world.store.peek('sallyport-tokens')!.data.hmacKey!;
  expect(key).toHaveLength(32);
});

test('E8: revoking all tokens holds on every replica within 10 s: node, fleet and KubeEdge tokens', async () => {
  await using world = await EnrolmentWorld.create();
  const [here, there] = [await world.tokens(), await world.tokens()];
  const node = await here.createNodeToken('edge-1');
  const fleet = await there.fleetToken();
  const kubeEdge = kubeEdgeToken(world.ca, world.clock.now() + DAY_MS);
  for (const token of [node.token, fleet.token, kubeEdge])
    expect(await codeOf(there.verify(token, 'edge-1'))).toBe('ok');
  await here.revokeAll();
  await world.clock.advance(10_000);
  for (const one of [here, there])
    for (const token of [node.token, fleet.token, kubeEdge])
      expect(await codeOf(one.verify(token, 'edge-1'))).toBe('TOKEN_REVOKED');
  // The fleet token was replaced, and what is minted from now on works.
  expect(stored(world)).not.toBe(fleet.token);
  expect(await codeOf(there.verify(stored(world), 'edge-1'))).toBe('ok');
  expect(await codeOf(there.verify((await here.createNodeToken('edge-1')).token, 'edge-1'))).toBe('ok');
  const newer = kubeEdgeToken(world.ca, world.clock.now() + DAY_MS);
  expect(await codeOf(there.verify(newer, 'edge-1'))).toBe('ok');
});

test('E8: a token revoked between the check and its use is not used up but refused', async () => {
  await using world = await EnrolmentWorld.create();
  const [here, there] = [await world.tokens(), await world.tokens()];
  const { token } = await here.createNodeToken('edge-1');
  const verified = await here.verify(token, 'edge-1');
  await there.revokeAll();
  expect(await codeOf(here.consume(verified))).toBe('TOKEN_REVOKED');
});

test('E8, D9: while the store is down nothing is decided from an old state: 503, and it works again by itself', async () => {
  await using world = await EnrolmentWorld.create();
  const tokens = await world.tokens();
  const { token } = await tokens.createNodeToken('edge-1');
  await world.allAsleep();
  world.storeDown = true;
  await world.clock.advance(10_000);
  expect(await codeOf(tokens.verify(token, 'edge-1'))).toBe('SECRET_STORE_UNAVAILABLE');
  expect(await codeOf(tokens.verify('garbage', 'edge-1'))).toBe('TOKEN_INVALID');
  world.storeDown = false;
  expect(await codeOf(tokens.verify(token, 'edge-1'))).toBe('ok');
});

test('a damaged token state is never taken for an empty one and never overwritten', async () => {
  await using world = await EnrolmentWorld.create();
  const tokens = await world.tokens();
  const { token } = await tokens.createNodeToken('edge-1');
  const good = world.store.peek('sallyport-tokens')!;
  for (const data of [
    { ...good.data, 'state.json': Buffer.from('{') },
    { ...good.data, 'state.json': Buffer.from('null') },
    { ...good.data, 'state.json': Buffer.from('{"epoch":0,"revokedAt":0,"usedTokens":[null]}') },
    { ...good.data, hmacKey: Buffer.alloc(5) },
    { hmacKey: good.data.hmacKey! },
    { 'state.json': good.data['state.json']! },
  ]) {
    const damaged = world.store.put({ ...good, data });
    await world.clock.advance(5_000);
    expect(await codeOf(tokens.verify(token, 'edge-1'))).toMatch(/SECRET_(MALFORMED|KEY_MISSING)/);
    expect(await codeOf(world.tokens())).toMatch(/SECRET_(MALFORMED|KEY_MISSING)/);
    expect(world.store.peek('sallyport-tokens')).toEqual(damaged);
  }
});

test('a token state that vanishes is written again with its key and its used tokens', async () => {
  await using world = await EnrolmentWorld.create();
  const tokens = await world.tokens();
  const used = await tokens.createNodeToken('edge-1');
  const kept = await tokens.createNodeToken('edge-2');
  await tokens.consume(await tokens.verify(used.token, 'edge-1'));
  world.store.remove('sallyport-tokens');
  await world.clock.advance(10_000);
  expect(await codeOf(tokens.verify(kept.token, 'edge-2'))).toBe('ok');
  expect(await codeOf(tokens.verify(used.token, 'edge-1'))).toBe('TOKEN_USED');
});

/**
 * Lets time pass in steps; after each, every service has done its work (signatures take other threads) and
 * sleeps again.
 */
async function pass(world: EnrolmentWorld, ms: number): Promise<void> {
  const stepMs = 5 * 60_000;
  await world.allAsleep();
  for (let passed = 0; passed < ms; passed += stepMs) {
    await world.clock.advance(stepMs);
    await world.allAsleep();
  }
}

test('E1: the store is down at a refresh: it is retried with back-off, and the Secret never holds a token with less than half its life', async () => {
  await using world = await EnrolmentWorld.create();
  const tokens = await world.tokens();
  await world.allAsleep();
  const first = stored(world);
  // A day has a third at 8 h and a half at 12 h: the store fails for 3 h around the refresh.
  await pass(world, 7.5 * HOUR_MS);
  expect(stored(world)).toBe(first);
  world.storeDown = true;
  await pass(world, 3 * HOUR_MS);
  expect(stored(world)).toBe(first);
  const warnings = world.lines.filter((line) => line.includes('fleet token could not be checked')).length;
  expect(warnings).toBeGreaterThan(3);
  expect(warnings).toBeLessThan(3 * 60 * 3);
  world.storeDown = false;
  await pass(world, 10 * 60_000);
  expect(stored(world)).not.toBe(first);
  for (let hour = 0; hour < 30; hour++) {
    await pass(world, HOUR_MS);
    const { expiresAt } = await tokens.verify(stored(world), 'edge-1');
    expect(expiresAt - world.clock.now()).toBeGreaterThan(DAY_MS / 2);
  }
}, 60_000);

test('E2: stop leaves no timer behind, even while the store fails', async () => {
  const world = await EnrolmentWorld.create();
  const tokens = await world.tokens();
  await world.allAsleep();
  expect(world.clock.pending).toBe(1);
  world.storeDown = true;
  await world.clock.advance(5 * 60_000);
  await tokens.stop();
  expect(world.clock.pending).toBe(0);
  const reads = world.store.calls.length;
  world.storeDown = false;
  await world.clock.advance(2 * DAY_MS);
  expect(world.store.calls.length).toBe(reads);
});

test('E3: three replicas write the fleet token once an interval, and any token read works on every replica', async () => {
  await using world = await EnrolmentWorld.create();
  const replicas = await Promise.all([world.tokens(), world.tokens(), world.tokens()]);
  await world.allAsleep();
  const writes = () => world.writesOf('tokensecret');
  expect(writes()).toBe(1);
  const seen = [stored(world)];
  for (let interval = 1; interval <= 2; interval++) {
    await pass(world, 8 * HOUR_MS + 10 * 60_000);
    expect(writes()).toBe(1 + interval);
    seen.push(stored(world));
  }
  for (const one of replicas)
    for (const token of seen.slice(1)) expect(await codeOf(one.verify(token, 'edge-1'))).toBe('ok');
}, 60_000);

test('E4: a valid KubeEdge token in the Secret is adopted; one that is old, foreign or damaged is replaced', async () => {
  await using world = await EnrolmentWorld.create();
  const put = (text: string) =>
    world.store.put({ name: 'tokensecret', data: { tokendata: Buffer.from(text), other: Buffer.from('x') } });
  const theirs = kubeEdgeToken(world.ca, world.clock.now() + DAY_MS);
  put(theirs);
  const tokens = await world.tokens();
  expect((await tokens.fleetToken()).token).toBe(theirs);
  expect(world.writesOf('tokensecret')).toBe(0);
  for (const text of [
    kubeEdgeToken(world.ca, world.clock.now() + DAY_MS / 2),
    theirs.slice(65),
    `${'ab'.repeat(32)}.${theirs.slice(65)}`,
    (await tokens.createNodeToken('edge-1')).token,
    'garbage',
    '',
  ]) {
    world.store.remove('tokensecret');
    put(text);
    const { token } = await tokens.fleetToken();
    expect(token).not.toBe(text);
    expect(stored(world)).toBe(token);
    expect(world.stored('tokensecret', 'other')).toBe('x');
    expect(caHashOf(token)).toBe(world.ca.sha256);
  }
});

test('E4: tokens that enrol any node can be switched off, KubeEdge tokens alone as well', async () => {
  await using world = await EnrolmentWorld.create();
  const tokens = await world.tokens();
  const fleet = (await tokens.fleetToken()).token;
  const theirs = kubeEdgeToken(world.ca, world.clock.now() + DAY_MS);
  world.settings.acceptKubeEdge = false;
  expect(await codeOf(tokens.verify(theirs, 'edge-1'))).toBe('TOKEN_INVALID');
  expect(await codeOf(tokens.verify(fleet, 'edge-1'))).toBe('ok');
  world.settings.acceptKubeEdge = true;
  world.settings.acceptFleet = false;
  expect(await codeOf(tokens.verify(fleet, 'edge-1'))).toBe('TOKEN_INVALID');
  expect(await codeOf(tokens.verify(theirs, 'edge-1'))).toBe('TOKEN_INVALID');
  expect(await codeOf(tokens.fleetToken())).toBe('BAD_REQUEST');
  const node = await tokens.createNodeToken('edge-1');
  expect(await codeOf(tokens.verify(node.token, 'edge-1'))).toBe('ok');
});

test('a token is only minted for a node name and a sensible lifetime', async () => {
  await using world = await EnrolmentWorld.create();
  const tokens = await world.tokens();
  expect(await codeOf(tokens.createNodeToken('Edge_1'))).toBe('NODE_NAME_INVALID');
  for (const ttlMs of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 400 * DAY_MS])
    expect(await codeOf(tokens.createNodeToken('edge-1', ttlMs))).toBe('BAD_REQUEST');
});

test('start waits with back-off for a store that is down, and gives up when told to', async () => {
  await using world = await EnrolmentWorld.create();
  world.storeDown = true;
  let started = false;
  const starting = world.tokens().then((tokens) => {
    started = true;
    return tokens;
  });
  await world.clock.advance(60_000);
  expect(started).toBe(false);
  world.storeDown = false;
  await world.clock.advance(60_000);
  expect(await codeOf((await starting).createNodeToken('edge-1'))).toBe('ok');
});
