import { caHashOf } from '../../certs/enrolment/enrolment-token.ts';
import { shortDuration } from '../output.ts';
import { type Finding, failure, ok, skipped, warning } from './finding.ts';
import { type Patient, secretOf } from './patient.ts';
import { storedIssuer } from './stored-cas.ts';

/** The Secret never holds a token with less than half its life (requirement E1). */
const LEAST_LIFE = 1 / 2;

/** How old the stored fleet token is, and whether it names the CA that is served. Nothing of it is shown. */
export function checkFleetToken(patient: Patient): Finding[] {
  const { config, clock, gateway } = patient;
  if (!config.tokens.acceptFleet)
    return [skipped('fleet-token', 'fleet token', 'not accepted (tokens.acceptFleet)')];
  const stored = secretOf(patient, config.tokens.fleetSecret);
  if (!stored) return [skipped('fleet-token', 'fleet token', 'none stored; a running gateway makes it')];
  const text = Buffer.from(stored.data.tokendata ?? [])
    .toString('utf8')
    .trim();
  const expiresAt = expiryOf(text);
  const hint = gateway.up
    ? 'see the log for why it is not renewed; `sallyport token create` gives a token for one node meanwhile'
    : 'a gateway that runs renews it; start it';
  if (expiresAt === undefined)
    return [
      failure('fleet-token', 'the fleet token cannot be read', {
        detail: 'tokendata is no token',
        hint: 'delete the Secret; a running gateway makes a new one within a minute',
      }),
    ];
  const leftMs = expiresAt - clock.now();
  if (leftMs <= 0)
    return [
      failure('fleet-token', `the fleet token expired ${shortDuration(-leftMs)} ago`, {
        detail: `at ${new Date(expiresAt).toISOString()}: no node can join with it`,
        hint,
      }),
    ];
  const caSha256 = gateway.up ? gateway.info.caSha256 : storedIssuer(patient)?.sha256;
  if (caSha256 !== undefined && caHashOf(text) !== caSha256)
    return [
      failure('fleet-token', 'the fleet token names another CA than the one served', {
        detail: 'nodes that join with it refuse the hub',
        hint,
      }),
    ];
  const left = shortDuration(leftMs);
  if (leftMs < config.tokens.fleetTtlMs * LEAST_LIFE)
    return [
      warning('fleet-token', `the fleet token has ${left} left, less than half its life`, {
        detail: `until ${new Date(expiresAt).toISOString()}`,
        hint,
      }),
    ];
  return [ok('fleet-token', `the fleet token is good for ${left}`)];
}

/** `<hash>.<JWT>`: claim `exp` of the JWT (RFC 7519 §4.1.4); the signature is the gateway's business. */
function expiryOf(text: string): number | undefined {
  const payload = text.split('.').at(-2);
  try {
    const { exp } = JSON.parse(Buffer.from(payload ?? '', 'base64url').toString('utf8')) as { exp?: unknown };
    return typeof exp === 'number' ? exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}
