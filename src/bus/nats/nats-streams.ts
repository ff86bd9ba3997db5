import {
  DiscardPolicy,
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  type StreamInfo,
} from '@nats-io/jetstream';
import type { Config } from '../../config/schema.ts';
import { SallyportError } from '../../core/errors.ts';
import type { Subjects } from './subjects.ts';

export type NatsStreamOptions = Pick<Config['bus']['nats'], 'replicas' | 'limits'>;

const NANOSECONDS = 1_000_000;
/** "stream name already in use": another replica was faster (nats-server `JSStreamNameExistErr`). */
const NAME_IN_USE = 10058;

type WantedStream = Partial<StreamConfig> & { readonly name: string };

/**
 * The streams as this configuration wants them. Everything named here is compared with a stream that exists.
 */
export function wantedStreams(
  subjects: Subjects,
  { replicas, limits }: NatsStreamOptions,
): readonly WantedStream[] {
  const { prefix, upStream, downStream } = subjects;
  const common = {
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    num_replicas: replicas,
    duplicate_window: limits.duplicateWindowMs * NANOSECONDS,
  };
  return [
    {
      ...common,
      name: upStream,
      subjects: [`${prefix}.up.>`, `${prefix}.presence.*`],
      // Who reads too late misses the oldest; an edge is never refused because a program is slow.
      discard: DiscardPolicy.Old,
      max_msgs: limits.upstreamMessages,
      max_bytes: limits.upstreamBytes,
      max_age: limits.upstreamAgeMs * NANOSECONDS,
      // Never shorter than what is kept (nats-server refuses that).
      duplicate_window: Math.min(limits.duplicateWindowMs, limits.upstreamAgeMs) * NANOSECONDS,
    },
    {
      ...common,
      name: downStream,
      subjects: [`${prefix}.down.*`],
      // A sender is told that it is full; nothing that was taken is lost without a word.
      discard: DiscardPolicy.New,
      discard_new_per_subject: true,
      max_msgs_per_subject: limits.messagesPerNode,
      max_msgs: limits.downstreamMessages,
      max_bytes: limits.downstreamBytes,
      max_age: limits.downstreamAgeMs * NANOSECONDS,
      duplicate_window: Math.min(limits.duplicateWindowMs, limits.downstreamAgeMs) * NANOSECONDS,
      republish: { src: `${prefix}.down.*`, dest: `${prefix}.live.{{wildcard(1)}}` },
    },
  ];
}

/**
 * Creates the stream, or adopts one that exists with the same settings.
 * @throws BUS_SETTINGS_DIFFER; what NATS answers otherwise
 */
export async function ensureStream(manager: JetStreamManager, wanted: WantedStream): Promise<StreamInfo> {
  const present = await infoOf(manager, wanted.name);
  if (present) return checked(present, wanted);
  try {
    return await manager.streams.add({ ...wanted });
  } catch (error) {
    if (!(error instanceof JetStreamApiError && error.code === NAME_IN_USE)) throw error;
    return checked((await infoOf(manager, wanted.name))!, wanted);
  }
}

async function infoOf(manager: JetStreamManager, name: string): Promise<StreamInfo | undefined> {
  try {
    return await manager.streams.info(name);
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound)
      return undefined;
    throw error;
  }
}

function checked(info: StreamInfo, wanted: WantedStream): StreamInfo {
  for (const [setting, value] of Object.entries(wanted)) {
    const found = info.config[setting as keyof StreamConfig];
    if (sameSetting(found, value)) continue;
    throw new SallyportError('BUS_SETTINGS_DIFFER', {
      what: `stream ${wanted.name}`,
      setting,
      found: JSON.stringify(found),
      wanted: JSON.stringify(value),
    });
  }
  return info;
}

/** Lists in any order; of an object only what is wanted. */
function sameSetting(found: unknown, wanted: unknown): boolean {
  if (Array.isArray(wanted))
    return Array.isArray(found) && JSON.stringify([...found].sort()) === JSON.stringify([...wanted].sort());
  if (typeof wanted === 'object' && wanted !== null) {
    if (typeof found !== 'object' || found === null) return false;
    return Object.entries(wanted).every(([key, value]) =>
      sameSetting((found as Record<string, unknown>)[key], value),
    );
  }
  return found === wanted;
}
