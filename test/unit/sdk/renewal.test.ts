import { X509Certificate } from 'node:crypto';
import { expect, test, vi } from 'vitest';
import { closeReason } from '../../../src/protocol/close-reasons.ts';
import { createRenewRequest } from '../../../src/protocol/renew-request.ts';
import { CredentialStore } from '../../../src/sdk/credential-store.ts';
import { renewAt } from '../../../src/sdk/edge-identity.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { eventuallyHolds } from '../../support/eventually.ts';
import { mintCa, OID } from '../../support/pki/pki.ts';
import { EdgeFixture, next } from './edge-fixture.ts';

const HOUR = 3_600_000;
/** Nothing else than the renewal may happen on the way there. */
const quiet = { heartbeatMs: 1e12, ackTimeoutMs: 1e12 };

function validFor(hours: number, start: number) {
  return { notBefore: new Date(start), notAfter: new Date(start + hours * HOUR) };
}

test('renews at a random point in 70–90 % of the lifetime', () => {
  const validity = { notBefore: 1_000, notAfter: 2_000 };
  expect([0, 0.5, 0.999].map((random) => Math.round(renewAt(validity, random)))).toEqual([1700, 1800, 1900]);
});

test('renews in time over mutual TLS without a token, and is on the new certificate before the old link goes', async () => {
  await using edge = await EdgeFixture.start();
  const start = Math.floor(Date.now() / 1000) * 1000;
  const clock = new ManualClock(start);
  edge.hub.validity = validFor(10, start);
  const client = await edge.connect(quiet, { clock, random: () => 0.5 });
  const [down, up] = [vi.fn(), next(client, 'connected')];
  client.on('disconnected', down);
  const old = edge.hub.session;

  edge.hub.validity = validFor(20, start);
  await clock.advance(8 * HOUR - 1);
  expect(edge.hub.enrolments).toHaveLength(1);
  const renewed = next(client, 'renewed');
  await clock.advance(1);
  expect(await renewed).toEqual({ notAfter: new Date(start + 20 * HOUR) });
  await up;

  expect(edge.hub.enrolments[1]).toMatchObject({
    headers: { nodename: 'edge-1' },
    peer: 'O=system:nodes\nCN=system:node:edge-1',
  });
  expect(edge.hub.enrolments[1]!.headers.authorization).toBeUndefined();
  expect(edge.hub.session.fingerprint).not.toBe(old.fingerprint);
  await eventuallyHolds(() => expect(old.socket.readyState).toBe(old.socket.CLOSED));
  expect(down).not.toHaveBeenCalled();
  expect(client.connected).toBe(true);
  const stored = await new CredentialStore(edge.options.directory).load('edge-1');
  expect(stored).toBeDefined();
});

test('a hub that takes over while the link is exchanged does not look like a loss', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect();
  const down = vi.fn();
  client.on('disconnected', down);
  const old = edge.hub.session;
  // As the real hub does: the newer connection ends the older one, at the very moment of the upgrade.
  const { push } = edge.hub.sessions;
  edge.hub.sessions.push = (session) => {
    old.socket.close(closeReason('TakenOver').code, 'TakenOver: ');
    return push.call(edge.hub.sessions, session);
  };
  const up = next(client, 'connected');
  await client.renew();
  await up;
  await client.send({ resource: 'a', operation: 'update', content: 'after' });
  expect(edge.hub.contents).toEqual(['after']);
  expect(edge.hub.sessions).toHaveLength(2);
  expect(down).not.toHaveBeenCalled();
});

test('messages sent during an exchange of the link arrive once and in order', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect();
  const up = next(client, 'connected');
  const sent: Promise<void>[] = [];
  const renewing = client.renew();
  for (let content = 0; content < 50; content++) {
    sent.push(client.send({ resource: 'a', operation: 'update', content }));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await renewing;
  await Promise.all(sent);
  await up;
  expect(edge.hub.received.map(({ content }) => content)).toEqual([...Array(50).keys()]);
});

test('a renewal that fails is reported and tried again after a back-off, with the old certificate in use', async () => {
  await using edge = await EdgeFixture.start();
  const start = Math.floor(Date.now() / 1000) * 1000;
  const clock = new ManualClock(start);
  edge.hub.validity = validFor(10, start);
  const client = await edge.connect(quiet, { clock, random: () => 0 });
  edge.hub.refuseEnrolment = { status: 503, text: 'the secret store cannot be reached' };
  const failed = next(client, 'error');
  await clock.advance(7 * HOUR);
  expect(await failed).toMatchObject({
    code: 'JOIN_REFUSED',
    details: { problem: 'the secret store cannot be reached' },
  });
  expect(client.connected).toBe(true);
  edge.hub.refuseEnrolment = undefined;
  edge.hub.validity = validFor(20, start);
  const renewed = next(client, 'renewed');
  await eventuallyHolds(() => expect(clock.pending).toBeGreaterThan(0));
  await clock.advance(5_000);
  await renewed;
  expect(edge.hub.enrolments).toHaveLength(3);
});

test('C1: a certificate from the CA of a rollover is taken at a renewal, though the node joined with the old CA', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.join();
  edge.hub.issuer = await mintCa({ subject: 'CN=new' });
  edge.hub.servedCa = edge.hub.issuer;
  await client.renew();
  const stored = await new CredentialStore(edge.options.directory).load('edge-1');
  expect(stored!.ca).toBe(edge.hub.issuer.pem + edge.hub.ca.pem);
});

test('a certificate that has expired on arrival is not put in the place of one that works', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.join();
  const before = await new CredentialStore(edge.options.directory).load('edge-1');
  edge.hub.validity = validFor(1, Date.now() - 3 * HOUR);
  await expect(client.renew()).rejects.toMatchObject({ code: 'JOIN_REFUSED' });
  expect(await new CredentialStore(edge.options.directory).load('edge-1')).toEqual(before);
});

test('C1: a certificate of a new CA brings that CA along, fetched over a verified connection; the old one is kept until the new one has issued twice', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect();
  const load = async () => (await new CredentialStore(edge.options.directory).load('edge-1'))!.ca;
  const agent = () => String(edge.hub.session.request.headers['user-agent']);
  const old = edge.hub.ca;
  expect(await load()).toBe(old.pem);
  expect(agent()).toBe(`sallyport-sdk/0.1 (trusts ${old.sha256.slice(0, 16)})`);

  const ca = await mintCa({ subject: 'CN=KubeEdge 2' });
  edge.hub.issuer = ca;
  edge.hub.servedCa = ca;
  edge.hub.alsoTrust(ca);
  const sessions = edge.hub.sessions.length;
  await client.renew();
  expect(await load()).toBe(ca.pem + old.pem);
  await eventuallyHolds(() => expect(edge.hub.sessions).toHaveLength(sessions + 1));
  expect(agent()).toBe(`sallyport-sdk/0.1 (trusts ${ca.sha256.slice(0, 16)} ${old.sha256.slice(0, 16)})`);

  await client.renew();
  expect(await load()).toBe(ca.pem);
});

test('a certificate that no CA of this node, nor the one handed out, has issued is not put in the place of one that works', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect();
  const before = await new CredentialStore(edge.options.directory).load('edge-1');
  edge.hub.issuer = await mintCa({ subject: 'CN=KubeEdge 2' });
  edge.hub.servedCa = await mintCa({ subject: 'CN=KubeEdge 2' });
  await expect(client.renew()).rejects.toMatchObject({ code: 'JOIN_REFUSED' });
  expect(await new CredentialStore(edge.options.directory).load('edge-1')).toEqual(before);
});

test('a certificate for servers only is taken neither at a renewal nor at a join', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.join();
  const before = await new CredentialStore(edge.options.directory).load('edge-1');
  edge.hub.usages = [OID.serverAuth];
  const refusal = { code: 'JOIN_REFUSED', message: expect.stringContaining('lacks clientAuth') };
  await expect(client.renew()).rejects.toMatchObject(refusal);
  expect(await new CredentialStore(edge.options.directory).load('edge-1')).toEqual(before);
  await using other = await EdgeFixture.start();
  other.hub.usages = [OID.serverAuth];
  await expect(other.join()).rejects.toMatchObject(refusal);
});

test('C4: asked by the hub it renews within the time given, without losing its link; a request about another certificate is nothing to it', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect();
  const [down, programs] = [vi.fn(), vi.fn()];
  client.on('disconnected', down);
  client.on('message', programs);
  const present = (await new CredentialStore(edge.options.directory).load('edge-1'))!;
  const { serialNumber } = new X509Certificate(present.certificate);
  const ask = (serial: string) => {
    const message = createRenewRequest({ reason: 'ca-rollover', serial, withinMs: 1 }, { now: Date.now() });
    edge.hub.write(message);
    return eventuallyHolds(() =>
      expect(edge.hub.received.some(({ header }) => header.parent_msg_id === message.header.msg_id)).toBe(
        true,
      ),
    );
  };
  await ask('4711');
  expect(edge.hub.enrolments).toHaveLength(1);
  const renewed = next(client, 'renewed');
  await ask(serialNumber);
  await renewed;
  expect(edge.hub.enrolments).toHaveLength(2);
  expect(down).not.toHaveBeenCalled();
  expect(programs).not.toHaveBeenCalled();
});
