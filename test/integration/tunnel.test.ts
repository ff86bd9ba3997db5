import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { startRelayRig } from '../support/cloudcore/relay-rig.ts';
import { eventually } from '../support/eventually.ts';
import { advanceUntil } from '../support/while-advancing.ts';

const NODE = 'e-rel';
/** No UTF-8, and a zero. */
const BYTES = Buffer.from([0xff, 0xfe, 0x00, 0x80, 0xc3, 0x28]);

describe('the tunnel', () => {
  test('U6: binary data in text frames passes both ways, byte for byte, and each frame keeps its type', async () => {
    await using it = await startRelayRig();
    const edge = await it.tunnel(NODE);
    const cloud = it.cloudcore.tunnels.get(NODE)!;
    const atCloud = once(cloud, 'message');
    edge.send(BYTES, { binary: false });
    expect(await atCloud).toEqual([BYTES, false]);
    for (const binary of [false, true]) {
      const atEdge = once(edge, 'message');
      cloud.send(BYTES, { binary });
      expect(await atEdge).toEqual([BYTES, binary]);
    }
    cloud.close();
    await once(edge, 'close');
  });

  test("U3, U6: a name in the header that is not the certificate's is refused before CloudCore hears of it", async () => {
    await using it = await startRelayRig();
    await expect(it.tunnel(NODE, 'victim')).rejects.toThrow('403');
    expect(it.cloudcore.tunnels.size).toBe(0);
  });

  test('U3: a node that is revoked loses its tunnel and gets no new one', async () => {
    await using it = await startRelayRig();
    const edge = await it.tunnel(NODE);
    const gone = once(edge, 'close');
    it.revoked.add(NODE);
    await it.clock.advance(1_000);
    await gone;
    await eventually('CloudCore has lost it', () => it.cloudcore.tunnels.size === 0);
    await expect(it.tunnel(NODE)).rejects.toThrow('403');
  });

  test('U6: without a CloudCore the tunnel is refused, not opened into nothing', async () => {
    await using it = await startRelayRig();
    await it.cloudcore.kill();
    await expect(it.tunnel(NODE)).rejects.toThrow('503');
  });

  test('U5: a tunnel whose messages go through another gateway follows them to their CloudCore within 30 s', async () => {
    await using it = await startRelayRig({ cloudcores: 2 });
    const edge = await it.tunnel(NODE);
    const before = it.cloudcores.find(({ tunnels }) => tunnels.has(NODE))!;
    const home = it.cloudcores.find((one) => one !== before)!;
    await it.clock.advance(60_000);
    expect(edge.readyState).toBe(edge.OPEN);
    it.elsewhere.set(NODE, home.address);
    const gone = once(edge, 'close');
    await it.clock.advance(30_000);
    await gone;
    await it.tunnel(NODE);
    expect([...home.tunnels.keys()]).toEqual([NODE]);
  });

  test('U5, U6: message and tunnel connection of a node are at one CloudCore, also after it was killed', async () => {
    await using it = await startRelayRig({ cloudcores: 3 });
    await it.edge(NODE);
    await eventually('it is connected', () => it.hub.get(NODE)?.upstream?.state === 'open');
    const edge = await it.tunnel(NODE);
    const home = it.cloudcores.find(({ nodes }) => nodes.includes(NODE))!;
    expect([...home.tunnels.keys()]).toEqual([NODE]);
    const gone = once(edge, 'close');
    await home.kill();
    await gone;
    await advanceUntil(it.clock, () => it.hub.get(NODE)?.upstream?.state === 'open');
    await it.tunnel(NODE);
    const next = it.cloudcores.find(({ nodes }) => nodes.includes(NODE))!;
    expect(next).not.toBe(home);
    expect([...next.tunnels.keys()]).toEqual([NODE]);
  });
});
