import { randomBytes } from 'node:crypto';
import type { Secret, SecretStore } from '../../contracts/secret-store.ts';
import type { Clock } from '../../core/clock.ts';
import { describeError, isSallyportError, SallyportError } from '../../core/errors.ts';
import { SharedRecord } from '../../core/shared-record.ts';
import { CertificateAuthority } from '../ca/certificate-authority.ts';
import { decodeRollover, encodeRollover } from '../ca/rollover-codec.ts';
import { completed, NO_ROLLOVER, type RolloverPair, type RolloverState } from '../ca/rollover-state.ts';
import { sha256Hex } from '../x509/certificate-signer.ts';

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
  const record = rolloverRecord({ store, clock }, names.rolloverSecret);
  const { record: secret, wrote } = await record.change(async (state) => {
    if (state.phase !== 'revoking' || !state.pair) return state;
    await storeAsCa({ store, clock }, { name: names.caSecret, pair: state.pair });
    const { old, next } = state.pair;
    return completed(state, { from: sha256Hex(old.raw), to: next.certificate.sha256 });
  });
  return wrote && secret;
}

/**
 * The Secret of the rollover. A damaged one is left alone, and so is one of before what is in force here: a
 * state never goes backwards while a replica lives that knows better.
 */
export function rolloverRecord(
  components: { store: SecretStore; clock: Clock },
  name: string,
  inForce: () => RolloverState = () => NO_ROLLOVER,
): SharedRecord<RolloverState> {
  const decode = (secret: Secret | undefined) => {
    const state = decodeRollover(secret, components);
    const known = inForce();
    if (state.version >= known.version) return { value: state };
    if (state.phase === 'idle' && known.phase === 'idle') return { value: known };
    const problem = `it holds version ${state.version} of the rollover, and ${known.version} is in force; restore it from a backup`;
    throw new SallyportError('SECRET_MALFORMED', { secret: name, problem });
  };
  return new SharedRecord(components, { name, codec: { decode, encode: encodeRollover } });
}

/** Replaces the old CA, and no other. */
async function storeAsCa(
  components: { store: SecretStore; clock: Clock },
  { name, pair: { old, next } }: { name: string; pair: RolloverPair },
): Promise<void> {
  const record = new SharedRecord<CertificateAuthority | undefined>(components, {
    name,
    codec: {
      decode: (stored) => ({ value: stored && CertificateAuthority.fromSecret(stored, components) }),
      encode: (ca, previous) => ({ ...previous, ...ca!.toSecret(name).data }),
    },
  });
  await record.change((stored) => {
    const sha256 = stored?.certificate.sha256;
    if (sha256 === next.certificate.sha256) return stored;
    if (sha256 === undefined || sha256 === sha256Hex(old.raw)) return next;
    const problem = `it holds neither CA of the rollover (${sha256}); restore it from a backup`;
    throw new SallyportError('CA_INVALID', { secret: name, problem });
  });
}
