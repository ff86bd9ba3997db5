import type { X509Certificate } from 'node:crypto';
import type { RolloverPhase, RolloverStepRecord } from '../../contracts/ca-rollover.ts';
import type { Secret } from '../../contracts/secret-store.ts';
import { type Clock, systemClock } from '../../core/clock.ts';
import { describeError, SallyportError } from '../../core/errors.ts';
import { parseCertificates } from '../x509/certificate-chain.ts';
import { CertificateAuthority } from './certificate-authority.ts';
import {
  NO_ROLLOVER,
  type RolloverPair,
  type RolloverReceipt,
  type RolloverState,
} from './rollover-state.ts';

/** Keys of the Secret. Certificates and key are DER, as KubeEdge keeps its own. */
const FIELD = {
  state: 'rollover.json',
  receipts: 'receipts.json',
  old: 'oldcadata',
  next: 'newcadata',
  nextKey: 'newcakeydata',
  cross: 'crossdata',
  back: 'backdata',
  bridges: 'bridges.pem',
} as const;
const FORMAT = 1;
const PHASES: readonly string[] = ['idle', 'prepared', 'active', 'retiring', 'revoking'];

interface Stored {
  readonly format: number;
  readonly version: number;
  readonly phase: RolloverPhase;
  readonly wasActive: boolean;
  readonly asking: boolean;
  readonly last?: { readonly from: string; readonly to: string };
  readonly steps: readonly RolloverStepRecord[];
}

/** The whole content of the Secret: in `idle` there is no key in it. */
export function encodeRollover(state: RolloverState): Secret['data'] {
  const { version, phase, wasActive, asking, last, steps, pair, bridges, receipts } = state;
  const stored: Stored = {
    format: FORMAT,
    version,
    phase,
    wasActive,
    asking,
    ...(last ? { last } : {}),
    steps,
  };
  const next = pair?.next.toSecret('').data;
  return {
    [FIELD.state]: json(stored),
    ...(receipts.size > 0
      ? { [FIELD.receipts]: json([...receipts].map(([run, receipt]) => ({ run, ...receipt }))) }
      : {}),
    ...(pair && next
      ? {
          [FIELD.old]: pair.old.raw,
          [FIELD.next]: next.cadata!,
          [FIELD.nextKey]: next.cakeydata!,
          [FIELD.cross]: pair.cross.raw,
          [FIELD.back]: pair.back.raw,
        }
      : {}),
    ...(bridges.length > 0 ? { [FIELD.bridges]: Buffer.from(bridges.map(String).join('')) } : {}),
  };
}

/**
 * No Secret, no rollover.
 * @throws SECRET_MALFORMED, SECRET_KEY_MISSING, KEY_…, CA_INVALID: a damaged state is never taken for none,
 * nodes would be locked out
 */
export function decodeRollover(
  secret: Secret | undefined,
  { clock }: { clock: Clock } = { clock: systemClock },
): RolloverState {
  if (!secret) return NO_ROLLOVER;
  const { format, last, ...stored } = readState(secret);
  if (format !== FORMAT) throw malformed(secret, `its format ${format} is of a later version`);
  const bridges = secret.data[FIELD.bridges];
  return {
    ...stored,
    ...(last ? { last } : {}),
    ...(stored.phase === 'idle' ? {} : { pair: readPair(secret, clock) }),
    bridges: bridges?.length ? certificates(secret, FIELD.bridges) : [],
    receipts: readReceipts(secret),
  };
}

function readState(secret: Secret): Stored {
  let value: Partial<Stored>;
  try {
    value = JSON.parse(Buffer.from(required(secret, FIELD.state)).toString('utf8')) as Partial<Stored>;
  } catch (error) {
    if (error instanceof SallyportError) throw error;
    throw malformed(secret, `${FIELD.state} is not JSON`);
  }
  const { format, version, phase, wasActive, asking, last, steps } = value ?? {};
  if (
    typeof format !== 'number' ||
    !Number.isSafeInteger(version) ||
    !PHASES.includes(phase ?? '') ||
    !Array.isArray(steps)
  )
    throw malformed(secret, `${FIELD.state} lacks a field`);
  return {
    format,
    version: version!,
    phase: phase!,
    wasActive: wasActive === true,
    asking: asking === true,
    ...(last ? { last: { from: String(last.from), to: String(last.to) } } : {}),
    steps,
  };
}

function readPair(secret: Secret, clock: Clock): RolloverPair {
  return {
    old: certificates(secret, FIELD.old)[0]!,
    next: CertificateAuthority.fromSecret(
      {
        name: secret.name,
        data: { cadata: required(secret, FIELD.next), cakeydata: required(secret, FIELD.nextKey) },
      },
      { clock },
    ),
    cross: certificates(secret, FIELD.cross)[0]!,
    back: certificates(secret, FIELD.back)[0]!,
  };
}

/** Receipts only inform: a damaged one is none. */
function readReceipts(secret: Secret): Map<string, RolloverReceipt> {
  try {
    const rows = JSON.parse(Buffer.from(secret.data[FIELD.receipts] ?? '[]').toString('utf8')) as unknown[];
    return new Map(
      rows.flatMap((row) => {
        const { run, replica, version, at } = row as Record<string, unknown>;
        return typeof run === 'string' && typeof replica === 'string' && typeof version === 'number'
          ? [[run, { replica, version, at: Number(at) || 0 }] as const]
          : [];
      }),
    );
  } catch {
    return new Map();
  }
}

function certificates(secret: Secret, key: string): X509Certificate[] {
  try {
    return parseCertificates(required(secret, key), `${key} of secret ${secret.name}`);
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'SECRET_KEY_MISSING') throw error;
    throw malformed(secret, describeError(error));
  }
}

function required(secret: Secret, key: string): Uint8Array {
  const value = secret.data[key];
  if (value === undefined || value.length === 0)
    throw new SallyportError('SECRET_KEY_MISSING', { secret: secret.name, key });
  return value;
}

function malformed(secret: Secret, problem: string): SallyportError {
  return new SallyportError('SECRET_MALFORMED', { secret: secret.name, problem });
}

const json = (value: unknown) => Buffer.from(JSON.stringify(value));
