import { describe, expect, test } from 'vitest';
import { loadWebTransportLibrary } from '../../../../src/listeners/webtransport/library.ts';
import { FRAME_TYPES } from '../../../../src/protocol/codec-framed.ts';
import { encodeHello } from '../../../../src/protocol/quic-control.ts';
import { StrangerClient, startWebTransport } from '../../../support/edges/webtransport-rig.ts';
import { eventually } from '../../../support/eventually.ts';
import { bundleOf, FixedSource } from '../../../support/pki/fixed-source.ts';
import { mintCa, mintEdge, mintServer, type Pair } from '../../../support/pki/pki.ts';

const { module: library, missing } = await loadWebTransportLibrary();
const isServed = missing === undefined;
const notRun = isServed ? '' : ` (NOT RUN: ${missing})`;

/**
 * The native part is downloaded when packages are installed, and is not everywhere: then these tests are
 * reported as skipped, with why.
 */
describe(`WebTransport over HTTP/3${notRun}`, () => {
  /**
   * Clients believe a certificate by its hash only when it lives two weeks at most (W3C WebTransport, custom
   * certificate requirements).
   */
  const serverOf = (ca: Pair) => mintServer(ca, { notAfter: new Date(Date.now() + 7 * 86_400_000) });
  async function start() {
    const ca = await mintCa();
    return startWebTransport(
      {},
      { ca, source: new FixedSource(bundleOf({ ca, server: await serverOf(ca) })) },
    );
  }
  async function client(hub: Awaited<ReturnType<typeof startWebTransport>>, node?: string) {
    let query = '';
    if (node !== undefined) {
      const verdict = hub.gate.check((await mintEdge(hub.ca, node)).certificate, []);
      if (!verdict.ok) throw new Error(verdict.detail);
      query = `?ticket=${hub.tickets.issue(verdict.identity).ticket}`;
    }
    const url = `https://127.0.0.1:${hub.port}/edge${query}`;
    return new StrangerClient(library, url, hub.ca, { http3: hub.source.current().server.sha256 });
  }

  test.runIf(isServed)('a ticket opens a session on the UDP port of the same number', async () => {
    await using hub = await start();
    expect(hub.listener.describe()).toBe('HTTP/2 and HTTP/3');
    const edge = await client(hub, 'edge-1');
    expect(await edge.open()).toBe(true);
    edge.write(encodeHello({ node_id: 'edge-1', project_id: 'p' }));
    await eventually('the welcome came', () => edge.frames.length > 0);
    expect(edge.frames[0]!.type).toBe(FRAME_TYPES.welcome);
    expect(hub.acceptor.connections.map(({ peer }) => peer.nodeName)).toEqual(['edge-1']);
    edge.close();
  });

  test.runIf(isServed)('K1: without a ticket nobody gets a session', async () => {
    await using hub = await start();
    expect(await (await client(hub)).open()).toBe(false);
    expect(hub.acceptor.connections).toEqual([]);
  });

  test.runIf(isServed)(
    'a new bundle asks sessions to come back, and new ones get its certificate',
    async () => {
      await using hub = await start();
      const edge = await client(hub, 'edge-1');
      await edge.open();
      edge.write(encodeHello({ node_id: 'edge-1', project_id: 'p' }));
      await eventually('the welcome came', () => edge.frames.length > 0);
      const next = bundleOf({ ca: hub.ca, server: await serverOf(hub.ca) });
      await hub.listener.applyBundle(next);
      hub.source.set(next);
      expect((await edge.ended)?.closeCode).toBe(4417);
      const again = await client(hub, 'edge-1');
      expect(await again.open()).toBe(true);
      again.close();
    },
  );
});

describe.runIf(!isServed)('without the native part', () => {
  test('HTTP/2 alone is served, and the listener says why', async () => {
    await using hub = await startWebTransport();
    expect(hub.listener.describe()).toBe(`HTTP/2 only: ${missing}`);
    expect(missing).toMatch(
      /^@fails-components\/webtransport-transport-http3-quiche (is not installed|cannot be loaded)/,
    );
  });

  test('nothing is written to standard output about it', async () => {
    // `serve --print-ready` prints one line of JSON there, for programs.
    const { execFile } = await import('node:child_process');
    const script = `
      const { loadWebTransportLibrary } = await import('./src/listeners/webtransport/library.ts');
      await loadWebTransportLibrary();
      await new Promise((resolve) => setImmediate(resolve));
      console.log('only this');`;
    const { stdout, stderr } = await new Promise<{ stdout: string; stderr: string }>((resolve, reject) => {
      const args = ['--input-type=module', '-e', script];
      execFile(process.execPath, args, (error, out, err) =>
        error ? reject(error) : resolve({ stdout: out, stderr: err }),
      );
    });
    expect(stdout).toBe('only this\n');
    expect(stderr).not.toMatch(/quiche/);
  });
});
