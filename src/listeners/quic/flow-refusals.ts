import type { Clock } from '../../core/clock.ts';
import { type Logger, LogSampler } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import { refusalText } from '../../protocol/quic-control.ts';
import { plainAddress } from '../address-limit.ts';
import { connectionRefused } from './connection-refused.ts';
import type { LongHeader } from './quic-packet.ts';

/** What a client is told. */
const WORDS = {
  connections: 'the hub has as many connections as limits.connections allows',
  'connections-per-ip': 'the hub has as many connections of this address as limits.connectionsPerIp allows',
  descriptors: 'the hub has no file descriptor to spare',
} as const;
/** Each costs 0.1 ms of CPU at most, and whoever forges senders can have any number of them. */
const MAX_ANSWERS = 100;

export interface FlowRefusalComponents {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'connectionsRefused'>;
}

/**
 * Counts the flows there is no room for, logs some of them, and words the answer as long as it is no flood.
 */
export class FlowRefusals {
  readonly #components: FlowRefusalComponents;
  readonly #sampler: LogSampler;
  #answersLeft = MAX_ANSWERS;

  constructor(components: FlowRefusalComponents) {
    this.#components = components;
    this.#sampler = new LogSampler(components);
  }

  /** To be called each second: so many answers are given until the next call. */
  sweep(): void {
    this.#answersLeft = MAX_ANSWERS;
  }

  /** @returns the datagram that tells the client; undefined where nothing is to be said */
  refuse(header: LongHeader, address: string, limit: keyof typeof WORDS): Buffer | undefined {
    const { log, metrics } = this.#components;
    metrics.connectionsRefused.inc({ transport: 'quic', limit });
    const suppressed = this.#sampler.pass(limit);
    if (suppressed !== undefined)
      log.warn(
        { remoteAddress: plainAddress(address), limit, suppressed },
        'a connection was refused by a limit',
      );
    if (!header.isInitial || this.#answersLeft <= 0) return undefined;
    this.#answersLeft--;
    return connectionRefused(header, refusalText('TryAgainLater', 'limit', WORDS[limit]));
  }
}
