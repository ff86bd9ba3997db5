import { expect, test } from 'vitest';
import { CertificateAuthority } from '../../../src/certs/ca/certificate-authority.ts';
import type { Listener } from '../../../src/contracts/listener.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { silentLogger } from '../../../src/core/log.ts';
import { tlsHandshake, tryTlsBundle } from '../../../src/listeners/tls-trial.ts';
import { Preflight } from '../../../src/selfcheck/preflight.ts';
import { ProbeClients } from '../../../src/selfcheck/probe-clients.ts';
import { bundleOf } from '../../support/pki/fixed-source.ts';
import { mintServer, storedPair } from '../../support/pki/pki.ts';

const policy = { minVersion: 'TLSv1.3', groups: 'X25519' } as const;

/** Listeners that serve a bundle over real TLS, and keep who was tried. */
async function make(...kinds: readonly (readonly [name: Listener['name'], servesAs: string])[]) {
  const tried: string[] = [];
  const listeners = kinds.map(
    ([name, servesAs]) =>
      ({
        name,
        servesAs,
        tryBundle: (next, visit) => {
          tried.push(name);
          return tryTlsBundle(next, { policy }, visit);
        },
        handshake: (request) => tlsHandshake(request),
      }) as Pick<Listener, 'name' | 'servesAs' | 'tryBundle' | 'handshake'> as Listener,
  );
  const authority = await CertificateAuthority.create({ clock: systemClock }, { days: 1 });
  const { data } = authority.toSecret('casecret');
  const ca = storedPair(Buffer.from(data.cadata!), Buffer.from(data.cakeydata!));
  const parts = { clock: systemClock, log: silentLogger, clients: new ProbeClients({ clock: systemClock }) };
  const preflight = new Preflight({ ...parts, listeners: () => listeners }, () => ({
    addresses: ['localhost'],
    timeoutMs: 60_000,
  }));
  const bundle = async (...clientCAs: (typeof ca)[]) =>
    bundleOf({ ca, server: await mintServer(ca), ...(clientCAs.length > 0 ? { clientCAs } : {}) });
  return { tried, authority, bundle, check: preflight.check.bind(preflight) };
}

test('one listener is tried for all that serve alike', async () => {
  const { tried, authority, bundle, check } = await make(['https', 'a'], ['admin', 'a'], ['quic', 'b']);
  await check(await bundle(), [authority]);
  expect(tried).toEqual(['https', 'quic']);
});

test('what fails names every listener that it is true of, and was tried three times', async () => {
  const { tried, authority, bundle, check } = await make(['https', 'a'], ['admin', 'a']);
  const { server, ...other } = await bundle();
  const wrong = { ...other, server: { ...server, sha256: 'ab' } };
  await expect(check(wrong, [authority])).rejects.toThrow('https, admin: another certificate is served');
  expect(tried).toHaveLength(3);
});

test('a node of a CA that is not trusted is refused before anything is served', async () => {
  const { tried, bundle, check } = await make(['https', 'a']);
  const stranger = await CertificateAuthority.create({ clock: systemClock }, { days: 1 });
  await expect(check(await bundle(), [stranger])).rejects.toThrow('a node of the CA would be refused');
  expect(tried).toEqual([]);
});
