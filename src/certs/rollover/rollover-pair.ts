import { randomBytes } from 'node:crypto';
import type { Secret, SecretStore } from '../../contracts/secret-store.ts';
import type { Clock } from '../../core/clock.ts';
import { describeError, isSallyportError, SallyportError } from '../../core/errors.ts';
import { CertificateAuthority } from '../ca/certificate-authority.ts';
import { decodeRollover, encodeRollover } from '../ca/rollover-codec.ts';
import { completed, type RolloverPair } from '../ca/rollover-state.ts';
import { sha256Hex } from '../x509/certificate-signer.ts';

const MAX_ATTEMPTS = 50;

/**
 * A new CA, and both CAs signed by each other. It bears a name of its own: OpenSSL looks for a CA by name,
 * and with two of one name, of which the older (KubeEdge's) has no key identifier, takes the wrong one.
 * @throws ROLLOVER_IMPOSSIBLE when the present CA may sign no other
 */
export async function makePair(
  { clock, own }: { clock: Clock; own: CertificateAuthority },
  { caDays, rolloverSecret }: { caDays: number; rolloverSecret: string },
): Promise<RolloverPair> {
  const subject = `CN=KubeEdge ${randomBytes(4).toString('hex')}`;
  const made = await CertificateAuthority.create({ clock }, { days: caDays, subject });
  const next = CertificateAuthority.fromSecret(made.toSecret(rolloverSecret), { clock });
  try {
    const [cross, back] = await Promise.all([own.crossSign(next), next.crossSign(own)]);
    return { old: own.x509, next, cross, back };
  } catch (error) {
    if (!isSallyportError(error, 'CA_INVALID')) throw error;
    throw new SallyportError('ROLLOVER_IMPOSSIBLE', { problem: describeError(error) }, error);
  }
}

/**
 * The end of `revoke`: the new CA becomes the content of the CA Secret, then its key leaves the Secret of the
 * rollover. Each of the two writes may be the last one a process lives to make; whoever comes next goes on
 * from there.
 * @returns the Secret of the rollover in `idle`; undefined when there was nothing to end
 * @throws CA_INVALID when somebody put a third CA there, errors of the store
 */
export async function finishRevoke(
  { store, clock }: { store: SecretStore; clock: Clock },
  names: { caSecret: string; rolloverSecret: string },
): Promise<Secret | undefined> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const secret = await store.get(names.rolloverSecret);
    const state = decodeRollover(secret, { clock });
    if (!secret || state.phase !== 'revoking' || !state.pair) return undefined;
    try {
      await storeAsCa({ store, clock }, { name: names.caSecret, pair: state.pair });
      const { old, next } = state.pair;
      const ended = completed(state, { from: sha256Hex(old.raw), to: next.certificate.sha256 });
      return await store.replace({ ...secret, version: secret.version!, data: encodeRollover(ended) });
    } catch (error) {
      const lost = isSallyportError(error, 'SECRET_ALREADY_EXISTS', 'SECRET_CONFLICT', 'SECRET_NOT_FOUND');
      if (!lost) throw error;
    }
  }
  throw new SallyportError('SECRET_STORE_UNAVAILABLE', {
    problem: `secret ${names.rolloverSecret} changes too often`,
  });
}

async function storeAsCa(
  { store, clock }: { store: SecretStore; clock: Clock },
  { name, pair: { old, next } }: { name: string; pair: RolloverPair },
): Promise<void> {
  const { data } = next.toSecret(name);
  const stored = await store.get(name);
  if (!stored) return void (await store.create({ name, type: 'Opaque', data }));
  const { sha256 } = CertificateAuthority.fromSecret(stored, { clock }).certificate;
  if (sha256 === next.certificate.sha256) return;
  if (sha256 !== sha256Hex(old.raw))
    throw new SallyportError('CA_INVALID', {
      secret: name,
      problem: `it holds neither CA of the rollover (${sha256}); restore it from a backup`,
    });
  await store.replace({ ...stored, version: stored.version!, data: { ...stored.data, ...data } });
}
