import { afterEach, describe, expect, test } from 'vitest';
import type { Listener } from '../../src/contracts/listener.ts';
import { systemClock } from '../../src/core/clock.ts';
import { PeerGate } from '../../src/identity/peer-gate.ts';
import { closeReason } from '../../src/protocol/close-reasons.ts';
import { bundleOf, FixedSource } from '../support/pki/fixed-source.ts';
import { ca, edge, hub } from '../support/pki/hub-and-edge.ts';
import {
  mint,
  mintCa,
  mintEdge,
  mintServer,
  OID,
  type Pair,
  unknownCriticalExtension,
} from '../support/pki/pki.ts';

/** What an edge experienced. */
export type Attempt =
  | {
      readonly accepted: true;
      /**
       * SHA-256 of the hub certificate it saw, lower-case hexadecimal; undefined where the client's library
       * does not show it (QUIC).
       */
      readonly servedSha256: string | undefined;
      /** Sends something over the connection and tells whether the hub got it (or answered). */
      works(): Promise<boolean>;
      close(): void | Promise<void>;
    }
  | {
      readonly accepted: false;
      /** Word of `RefusalReason`, as the edge was told; undefined when it was just cut off. */
      readonly reason: string | undefined;
    };

/** How the suite drives one kind of listener. */
export interface ListenerAdapter {
  readonly name: string;
  /**
   * 'required': a connection without certificate is refused (WebSocket, QUIC). 'optional': it is served as a
   * stranger (HTTPS).
   */
  readonly clientCertificate: 'required' | 'optional';
  /**
   * False where the TLS library picks a client's CA by name and key identifier alone (QUIC:
   * docs/decisions/quic-library.md).
   */
  readonly tellsTwinCasApart?: false;
  /**
   * Kinds of certificates that a TLS library refuses before the gate can: in the hub's with its own word, in
   * the client's with none.
   */
  readonly libraryWords?: Readonly<Record<string, string | undefined>>;
  /** Builds and starts it on 127.0.0.1, port 0, with the system clock. */
  start(setup: { source: FixedSource; gate: PeerGate; maxConnections: number }): Promise<Listener>;
  /** Connects as `node`; `edge` is its certificate, when it has one. `ca` is what it trusts. */
  connect(port: number, as: { ca: Pair; edge?: Pair; node: string }): Promise<Attempt>;
}

const DAY = 86_400_000;
const daysFromNow = (days: number) => new Date(Date.now() + days * DAY);

/** What every listener promises, whatever its transport. */
export function listenerContract(adapter: ListenerAdapter): void {
  describe(`${adapter.name} listener`, () => {
    const cleanUp: (() => void | Promise<void>)[] = [];

    afterEach(async () => {
      for (const step of cleanUp.splice(0).reverse()) await step();
    });

    async function start({ maxConnections = 1_000, clientCAs = [ca] } = {}) {
      const source = new FixedSource(bundleOf({ ca, server: hub, clientCAs }));
      const gate = new PeerGate({ trust: () => source.current().clientCAs, clock: systemClock }, () => ({
        allowLegacy: false,
        legacyNodes: {},
      }));
      const listener = await adapter.start({ source, gate, maxConnections });
      cleanUp.push(() => listener.stop(closeReason('Draining'), AbortSignal.abort()));
      const { port } = listener.address();
      const connect = async (as: { edge?: Pair; node?: string; ca?: Pair }) => {
        const attempt = await adapter.connect(port, { ca, node: 'edge-1', ...as });
        if (attempt.accepted) cleanUp.push(() => attempt.close());
        return attempt;
      };
      const swap = async (bundle: ReturnType<typeof bundleOf>) => {
        await listener.applyBundle(bundle);
        source.set(bundle);
      };
      return { listener, source, port, connect, swap };
    }
    /** What became of each kind of edge, for the table in docs/protocol.md. */
    const verdicts = new Map<string, string>();
    const record = (edgeIs: string, attempt: Attempt) => {
      verdicts.set(edgeIs, attempt.accepted ? 'accepted' : `refused: ${attempt.reason ?? 'no answer'}`);
      return attempt;
    };
    const accepted = (attempt: Attempt) => {
      if (!attempt.accepted) throw new Error(`refused: ${attempt.reason}`);
      return attempt;
    };

    const expectServed = (attempt: ReturnType<typeof accepted>, sha256: string) => {
      if (attempt.servedSha256 !== undefined) expect(attempt.servedSha256).toBe(sha256);
    };

    test('accepts an edge of a trusted CA and shows it the hub certificate of the bundle', async () => {
      const { connect, listener, source } = await start();
      const attempt = accepted(record('of a trusted CA', await connect({ edge })));
      expectServed(attempt, hub.sha256);
      expect(await attempt.works()).toBe(true);
      expect(listener.servedFingerprint()).toBe(source.current().fingerprint);
      expect(listener.address().port).toBeGreaterThan(0);
    });

    if (adapter.tellsTwinCasApart !== false)
      test('C2: accepts edges of two CAs of the same name and serial without key identifiers', async () => {
        const same = { serial: '0400', keyIdentifiers: false };
        const [older, newer] = [await mintCa(same), await mintCa(same)];
        const { connect } = await start({ clientCAs: [older, newer] });
        for (const issuer of [older, newer]) {
          const twin = await mintEdge(issuer, 'edge-1', { keyIdentifiers: false });
          accepted(record('of the second of two CAs that look alike', await connect({ edge: twin })));
        }
      });

    const refusals: [string, string, () => Promise<Pair>][] = [
      ['of an untrusted CA', 'unknown-ca', async () => mintEdge(await mintCa(), 'edge-1')],
      [
        'that signed itself',
        'unknown-ca',
        () => mint({ subject: 'O=system:nodes,CN=system:node:edge-1', usages: [OID.clientAuth] }),
      ],
      [
        'that has expired',
        'expired',
        () => mintEdge(ca, 'edge-1', { notBefore: daysFromNow(-9), notAfter: daysFromNow(-2) }),
      ],
      [
        'that is not valid yet',
        'not-yet-valid',
        () => mintEdge(ca, 'edge-1', { notBefore: daysFromNow(1), notAfter: daysFromNow(9) }),
      ],
      [
        'without the usage clientAuth',
        'wrong-usage',
        () => mintEdge(ca, 'edge-1', { usages: [OID.serverAuth] }),
      ],
      ['that names no node', 'no-node-name', () => mintEdge(ca, 'x', { subject: 'O=x,CN=y' })],
      [
        'of an old fleet (D6)',
        'legacy-certificate',
        () => mintEdge(ca, 'x', { subject: 'O=KubeEdge,CN=kubeedge.io' }),
      ],
      [
        'with two names in it (D7)',
        'malformed-certificate',
        () => mintEdge(ca, 'x', { subject: 'O=system:nodes,CN=system:node:edge-1,CN=system:node:edge-2' }),
      ],
      ['of another node (G1)', 'node-mismatch', () => mintEdge(ca, 'attacker')],
      ['signed with SHA-1 (O3)', 'weak-signature', () => mintEdge(ca, 'edge-1', { hash: 'SHA-1' })],
      [
        'with an unknown critical extension (O3)',
        'unknown-extension',
        () => mintEdge(ca, 'edge-1', { extensions: [unknownCriticalExtension()] }),
      ],
      [
        'whose key may not sign (O3)',
        'wrong-key-usage',
        () => mintEdge(ca, 'edge-1', { digitalSignature: false }),
      ],
    ];
    test.each(refusals)('refuses a certificate %s and says %s', async (kind, reason, make) => {
      const { connect } = await start();
      const words = adapter.libraryWords ?? {};
      const said = kind in words ? words[kind] : reason;
      expect(record(kind, await connect({ edge: await make() }))).toEqual({ accepted: false, reason: said });
      accepted(await connect({ edge }));
    });

    test('O1: accepts an edge whose certificate an intermediate of a trusted CA has issued', async () => {
      const { connect } = await start();
      const intermediate = await mintCa({ issuer: ca, subject: 'CN=between' });
      const leaf = await mintEdge(intermediate, 'edge-1');
      const chained = { ...leaf, pem: leaf.pem + intermediate.pem };
      const attempt = accepted(
        record('of an intermediate that it sends (O1)', await connect({ edge: chained })),
      );
      expect(await attempt.works()).toBe(true);
    });

    if (adapter.clientCertificate === 'optional')
      test('G2: serves a connection without certificate as a stranger, who is given nothing', async () => {
        const { connect } = await start();
        const attempt = await connect({});
        // A word means that the connection was served and the request refused.
        expect(attempt).toEqual({ accepted: false, reason: expect.any(String) });
        verdicts.set('without certificate', 'served as a stranger');
      });
    else
      test('G2: refuses a connection without certificate', async () => {
        const { connect } = await start();
        const attempt = record('without certificate', await connect({}));
        expect(attempt).toMatchObject({ accepted: false, reason: 'no-certificate' });
      });

    test('keeps open connections across a swap and gives new ones the new certificate', async () => {
      const { connect, listener, swap } = await start();
      const open = accepted(await connect({ edge }));
      const next = bundleOf({ ca, server: await mintServer(ca) });
      await swap(next);
      expect(listener.servedFingerprint()).toBe(next.fingerprint);
      const fresh = accepted(await connect({ edge }));
      expectServed(fresh, next.server.sha256);
      expect(await open.works()).toBe(true);
      record('connected before a swap of the hub certificate', open);
    });

    test('keeps the old certificate when the new key does not match, and says so by throwing', async () => {
      const { connect, listener, source } = await start();
      const other = await mintServer(ca);
      const bad = bundleOf({ ca, server: { ...other, key: hub.key } });
      await expect(Promise.resolve().then(() => listener.applyBundle(bad))).rejects.toThrow();
      expect(listener.servedFingerprint()).toBe(source.current().fingerprint);
      expectServed(accepted(await connect({ edge })), hub.sha256);
    });

    test('refuses edges of a CA that was removed, and accepts those of the one that was added', async () => {
      const { connect, swap } = await start();
      accepted(await connect({ edge }));
      const added = await mintCa();
      await swap(bundleOf({ ca, server: hub, clientCAs: [added] }));
      const stale = record('of a CA that was removed', await connect({ edge }));
      expect(stale).toEqual({ accepted: false, reason: 'unknown-ca' });
      const newcomer = await connect({ edge: await mintEdge(added, 'edge-1') });
      accepted(record('of a CA that was added', newcomer));
    });

    test('I3: refuses what is beyond the cap of connections, and has place again afterwards', async () => {
      const { connect } = await start({ maxConnections: 2 });
      const first = accepted(await connect({ edge }));
      accepted(await connect({ edge: await mintEdge(ca, 'edge-2'), node: 'edge-2' }));
      const third = { edge: await mintEdge(ca, 'edge-3'), node: 'edge-3' };
      expect(record('beyond the cap of connections', await connect(third)).accepted).toBe(false);
      await first.close();
      await expect.poll(async () => (await connect(third)).accepted, { timeout: 10_000 }).toBe(true);
    });

    test('stops twice without complaint and accepts nobody any more', async () => {
      const { connect, listener } = await start();
      const reason = closeReason('Draining');
      const { signal } = new AbortController();
      await Promise.all([listener.stop(reason, signal), listener.stop(reason, signal)]);
      await listener.stop(reason, signal);
      expect(record('after the listener stopped', await connect({ edge })).accepted).toBe(false);
    });

    // Last: the tests above fill the table. `npx vitest run --project contract -u` writes the file, `npm run
    // docs` the table.
    test('the verdicts above are those of the table in docs/protocol.md', async () => {
      const text = `${JSON.stringify(Object.fromEntries(verdicts), undefined, 2)}\n`;
      await expect(text).toMatchFileSnapshot(`verdicts/${adapter.name.toLowerCase().split(' ')[0]}.json`);
    });
  });
}
