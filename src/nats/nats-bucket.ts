import { jetstream } from '@nats-io/jetstream';
import { type KV, Kvm, type KvStatus } from '@nats-io/kv';
import type { NatsConnection as Connection } from '@nats-io/transport-node';
import { SallyportError } from '../core/errors.ts';

/**
 * JetStream: the message asked for is not there; the expected last sequence is not the last one; the name is
 * in use with another configuration.
 */
const WRONG_LAST_SEQUENCE = new Set([10_071, 10_164]);
const NAME_IN_USE = 10_058;

export interface BucketSettings {
  readonly bucket: string;
  /** Copies JetStream keeps. */
  readonly replicas: number;
  readonly requestTimeoutMs: number;
  /** Age at which the server removes an entry, milliseconds; for ever without. */
  readonly ttlMs?: number;
}

export interface OpenBucket {
  readonly kv: KV;
  readonly status: KvStatus;
}

/**
 * Opens a key-value bucket, and creates it when it is not there. Reads go to its leader: what one replica
 * wrote, the next one sees.
 * @throws BUS_SETTINGS_DIFFER, errors of NATS
 */
export async function openBucket(connection: Connection, settings: BucketSettings): Promise<OpenBucket> {
  const { bucket, replicas, requestTimeoutMs, ttlMs } = settings;
  const manager = new Kvm(jetstream(connection, { timeout: requestTimeoutMs }));
  const wanted = {
    history: 1,
    replicas,
    allow_direct: false,
    ...(ttlMs === undefined ? {} : { ttl: ttlMs }),
  };
  const kv = await manager.create(bucket, wanted).catch((error: unknown) => {
    // With other copies, say: it is used as it is, unless what matters differs.
    if (codeOf(error) !== NAME_IN_USE) throw error;
    return manager.open(bucket, { allow_direct: false });
  });
  const status = await kv.status();
  check(bucket, 'ttl', status.ttl, ttlMs ?? 0);
  check(bucket, 'history', status.history, 1);
  return { kv, status };
}

function check(bucket: string, setting: string, found: number, wanted: number): void {
  if (found !== wanted)
    throw new SallyportError('BUS_SETTINGS_DIFFER', { what: `bucket ${bucket}`, setting, found, wanted });
}

/** Somebody else wrote the entry meanwhile. */
export function isConflict(error: unknown): boolean {
  return WRONG_LAST_SEQUENCE.has(codeOf(error) ?? 0);
}

function codeOf(error: unknown): number | undefined {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'number' ? code : undefined;
}
