import { type CaParts, resolveCaRoles } from '../../certs/ca/ca-roles.ts';
import { CertificateAuthority } from '../../certs/ca/certificate-authority.ts';
import { decodeRollover } from '../../certs/ca/rollover-codec.ts';
import { SallyportError } from '../../core/errors.ts';
import type { Patient } from './patient.ts';
import { secretOf } from './patient.ts';

/**
 * The CAs a gateway uses with what is stored: in a rollover, which of two issues. Undefined without the
 * Secret of the CA.
 * @throws what is wrong with one of the two Secrets, or CA_INVALID when they do not belong together
 */
export function storedCas(patient: Pick<Patient, 'config' | 'secrets' | 'clock'>): CaParts | undefined {
  const { caSecret, rolloverSecret } = patient.config.certificates;
  const stored = secretOf(patient, caSecret);
  if (!stored) return undefined;
  const own = CertificateAuthority.fromSecret(stored, patient);
  const answer = patient.secrets.get(rolloverSecret);
  if (answer && 'problem' in answer) throw answer.problem;
  const rollover = decodeRollover(answer?.secret, patient);
  const roles = resolveCaRoles(own, rollover);
  if (roles) return { own, rollover, roles };
  const problem = `the rollover in secret ${rolloverSecret} is about other CAs; restore the one or the other from a backup`;
  throw new SallyportError('CA_INVALID', { secret: caSecret, problem });
}

/** The CA that issues now, undefined when that cannot be told. */
export function storedIssuer(patient: Pick<Patient, 'config' | 'secrets' | 'clock'>) {
  try {
    return storedCas(patient)?.roles.issuing.certificate;
  } catch {
    return undefined;
  }
}
