import { readHubCertificate } from '../../certs/bundle/hub-certificate.ts';
import { namesOf } from '../../certs/x509/certificate-names.ts';
import { describeError } from '../../core/errors.ts';
import { shortDuration } from '../output.ts';
import { type Finding, failure, ok, skipped, warning } from './finding.ts';
import { type Patient, secretOf } from './patient.ts';

/** Enrolment backdates by an hour; a minute is what monitoring elsewhere calls wrong. */
const SKEW_LOW_MS = 60_000;
const SKEW_BAD_MS = 10 * 60_000;

/**
 * The clock of this machine against that of the gateway or the API server, and against what was signed last.
 */
export async function checkClock(patient: Patient): Promise<Finding[]> {
  return [...(await againstOthers(patient)), ...againstCertificate(patient)];
}

async function againstOthers({ gateway, kube, clock }: Patient): Promise<Finding[]> {
  if (gateway.up)
    return [judgeSkew(Date.parse(gateway.info.now) - clock.now(), `the gateway ${gateway.info.replica}`)];
  if (!kube) return [];
  try {
    const time = await kube.serverTime();
    if (time === undefined) return [skipped('clock', 'clock', 'the API server does not tell the time')];
    return [judgeSkew(time - clock.now(), 'the API server')];
  } catch (error) {
    return [skipped('clock', 'clock', `the API server cannot be asked: ${describeError(error)}`)];
  }
}

/** @param skewMs how far the other clock is ahead of ours */
function judgeSkew(skewMs: number, who: string): Finding {
  const off = Math.abs(skewMs);
  const say = `this clock is ${shortDuration(off)} ${skewMs > 0 ? 'behind' : 'ahead of'} that of ${who}`;
  const trouble = {
    detail: 'certificates and tokens have dates: nodes are refused as expired or not yet valid',
    hint: 'let both machines take their time from NTP',
  };
  if (off >= SKEW_BAD_MS) return failure('clock', say, trouble);
  // The gateway tells its time as of some moment of the call.
  return off >= SKEW_LOW_MS
    ? warning('clock', say, trouble)
    : ok('clock', `this clock and that of ${who} agree`);
}

function againstCertificate(patient: Patient): Finding[] {
  const stored = secretOf(patient, patient.config.certificates.hubSecret);
  if (!stored) return [];
  let notBefore: number;
  try {
    const { leaf } = readHubCertificate(stored);
    if (namesOf(leaf).length === 0) return [];
    notBefore = leaf.validFromDate.getTime();
  } catch {
    return []; // said where the certificate is looked at
  }
  const early = notBefore - patient.clock.now();
  if (early <= 0) return [];
  return [
    failure('clock', `the newest certificate begins only in ${shortDuration(early)}`, {
      detail: `notBefore ${new Date(notBefore).toISOString()}: this clock is behind, or who signed it was ahead`,
      hint: 'correct the clock of this machine',
    }),
  ];
}
