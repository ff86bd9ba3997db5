import type { Config } from '../../config/schema.ts';
import { backoffDelayMs } from '../../core/backoff.ts';
import type { Clock } from '../../core/clock.ts';
import { describeError, isSallyportError } from '../../core/errors.ts';
import { type Logger, LogSampler } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { Unsubscribe } from '../../core/property.ts';
import type { NatsConnection } from '../../nats/nats-connection.ts';
import { ensureStream, wantedStreams } from './nats-streams.ts';
import type { StreamReader } from './stream-reader.ts';
import type { Subjects } from './subjects.ts';

/** Period of looking at the streams, milliseconds. */
const CHECK_MS = 5_000;
/** After a failed look. */
const RETRY = { minMs: 200, maxMs: 5_000 } as const;
/** A start waits so long for NATS, then goes on without it, milliseconds. */
const START_WAIT_MS = 3_000;

export type StreamKeeperOptions = Pick<Config['bus']['nats'], 'replicas' | 'limits' | 'sweepMs'> & {
  readonly subjects: Subjects;
};

interface KeeperParts {
  readonly connection: NatsConnection;
  readonly reader: StreamReader;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/**
 * A stream that was seen before is another one now: deleted, or lost with its store. Its sequences begin
 * anew.
 */
export type OnReplaced = (stream: 'up' | 'down') => void;
export type OnSweep = (range: { readonly fromSeq: number; readonly toSeq: number }) => Promise<void>;

/** Sees to it that the streams exist, again and again, shows how full they are, and says when to sweep. */
export class StreamKeeper {
  readonly #parts: KeeperParts;
  readonly #options: StreamKeeperOptions;
  readonly #stopping = new AbortController();
  readonly #sampler: LogSampler;
  readonly #off: Unsubscribe;
  #onSweep: OnSweep = async () => {};
  #onReplaced: OnReplaced = () => {};
  readonly #created = new Map<string, string>();
  #problem: string | undefined = 'nats: the streams were not seen yet';
  #running: Promise<void> | undefined;
  #wake: () => void = () => {};
  #lastUpstream = 0;
  #firstUpstream: number | undefined;
  #sweptTo: number | undefined;
  #sweepAt = 0;

  constructor(parts: KeeperParts, options: StreamKeeperOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#sampler = new LogSampler({ clock: parts.clock });
    this.#off = parts.connection.onUp(() => {
      // What was announced while the connection was lost was announced to nobody.
      this.#sweepAt = 0;
      this.#wake();
    });
  }

  /**
   * The newest sequence of the upstream stream that this replica knows of; undefined before it has seen the
   * stream.
   */
  get lastUpstream(): number | undefined {
    return this.#created.has('up') ? this.#lastUpstream : undefined;
  }

  /** What the stream had taken when this replica first saw it. */
  get firstUpstream(): number | undefined {
    return this.#firstUpstream;
  }

  sawUpstream(seq: number): void {
    if (seq > this.#lastUpstream) this.#lastUpstream = seq;
  }

  /** Called with what the downstream stream took since the last time. */
  onSweep(listener: OnSweep): Unsubscribe {
    this.#onSweep = listener;
    return () => {
      this.#onSweep = async () => {};
    };
  }

  onReplaced(listener: OnReplaced): Unsubscribe {
    this.#onReplaced = listener;
    return () => {
      this.#onReplaced = () => {};
    };
  }

  /** Something is wrong with the streams: looks now instead of later. */
  suspect(): void {
    this.#wake();
  }

  problem(): string | undefined {
    return this.#problem;
  }

  /** @throws BUS_SETTINGS_DIFFER; nothing when NATS is not there: it will be */
  async start(signal: AbortSignal): Promise<void> {
    const wait = AbortSignal.any([signal, AbortSignal.timeout(START_WAIT_MS)]);
    try {
      await this.#parts.connection.whenUp(wait);
      await this.#check();
    } catch (error) {
      if (isSallyportError(error, 'BUS_SETTINGS_DIFFER')) throw error;
      signal.throwIfAborted();
      this.#failed(error);
    }
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#off();
    this.#stopping.abort();
    this.#wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    for (let attempt = 0; !signal.aborted; ) {
      await this.#sleep(this.#problem === undefined ? CHECK_MS : backoffDelayMs(attempt++, RETRY));
      if (signal.aborted) return;
      if (this.#parts.connection.problem() !== undefined) continue;
      try {
        await this.#check();
        attempt = 0;
      } catch (error) {
        this.#failed(error);
      }
    }
  }

  async #check(): Promise<void> {
    const { reader, metrics, clock } = this.#parts;
    const { subjects, sweepMs } = this.#options;
    const manager = await reader.manager();
    let lastDownstream = 0;
    for (const wanted of wantedStreams(subjects, this.#options)) {
      const { state, created } = await ensureStream(manager, wanted);
      const stream = wanted.name === subjects.upStream ? 'up' : 'down';
      metrics.busStreamMessages.set({ stream }, state.messages);
      metrics.busStreamBytes.set({ stream }, state.bytes);
      const before = this.#created.get(stream);
      this.#created.set(stream, created);
      if (before !== undefined && before !== created) this.#replaced(stream);
      if (stream === 'up') {
        this.sawUpstream(state.last_seq);
        this.#firstUpstream ??= state.last_seq;
      } else lastDownstream = state.last_seq;
    }
    if (this.#problem !== undefined) this.#parts.log.info({}, 'the streams of NATS are there');
    this.#problem = undefined;
    // Before the first sweep nothing can have been missed.
    if (this.#sweptTo === undefined || this.#sweptTo > lastDownstream) this.#sweptTo = lastDownstream;
    if (clock.monotonic() < this.#sweepAt) return;
    this.#sweepAt = clock.monotonic() + sweepMs;
    if (lastDownstream === this.#sweptTo) return;
    await this.#onSweep({ fromSeq: this.#sweptTo + 1, toSeq: lastDownstream });
    this.#sweptTo = lastDownstream;
  }

  #replaced(stream: 'up' | 'down'): void {
    this.#parts.log.error({ stream }, 'a stream of NATS is gone with what it held; it was made anew');
    if (stream === 'up') this.#lastUpstream = 0;
    else this.#sweptTo = undefined;
    this.#onReplaced(stream);
  }

  #failed(error: unknown): void {
    this.#problem = `nats: ${describeError(error)}`;
    this.#sweepAt = 0;
    const suppressed = this.#sampler.pass('failed');
    if (suppressed !== undefined)
      this.#parts.log.warn({ problem: this.#problem, suppressed }, 'the streams of NATS cannot be used yet');
  }

  async #sleep(delayMs: number): Promise<void> {
    const nap = new AbortController();
    this.#wake = () => nap.abort();
    await this.#parts.clock.sleep(delayMs, nap.signal).catch(() => {});
    this.#wake = () => {};
  }
}
