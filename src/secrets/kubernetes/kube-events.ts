import { hash } from 'node:crypto';
import type { EventRecorder, GatewayEvent } from '../../contracts/event-recorder.ts';
import type { Clock } from '../../core/clock.ts';
import { describeError } from '../../core/errors.ts';
import { type Logger, LogSampler } from '../../core/log.ts';
import type { KubeClient } from './kube-client.ts';
import { saysNotFound } from './kube-errors.ts';

export interface KubeEventsOptions {
  /** Name of this replica: `reportingInstance`. */
  readonly replica: string;
  /** Calls that may be made at once before they are spaced. */
  readonly burst?: number;
  /** Pause between calls after that, milliseconds. */
  readonly spacingMs?: number;
}

interface Entry {
  readonly name: string;
  readonly firstAt: string;
  readonly event: Omit<GatewayEvent, 'message'>;
  message: string;
  lastAt: string;
  count: number;
  /** Whether the API has it, so that it is patched rather than created. */
  isStored: boolean;
}

/**
 * Events of one reason about one Secret that are told apart; further ones are combined (client-go's
 * correlator: 10 in 10 minutes).
 */
const SIMILAR = { limit: 10, windowMs: 600_000 };
/** Kubernetes forgets an Event an hour after its last change (kube-apiserver `--event-ttl`), milliseconds. */
const TTL_MS = 3_600_000;
/** Kinds of event that are remembered for counting, and that may wait to be written. */
const MAX_ENTRIES = 500;
/** Kubernetes' bound on a message, characters (validation of core/v1 Event: 1 kB). */
const MAX_MESSAGE = 1_000;
const COMPONENT = 'sallyport';

/**
 * Writes `core/v1` Events about the Secrets of the gateway, in their namespace (requirement L5). Repeated
 * ones are counted in one object, many similar ones are combined, and writing is slowed rather than done in
 * bursts; an API that refuses them is told about once a minute in the log and has no other effect.
 */
export class KubeEvents implements EventRecorder {
  readonly #client: Pick<KubeClient, 'call' | 'namespace'>;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #sampler: LogSampler;
  readonly #options: Required<KubeEventsOptions>;
  readonly #entries = new Map<string, Entry>();
  readonly #similar = new Map<string, { since: number; count: number }>();
  /** Entries that have something to be written; each at most once, so that waiting costs no memory. */
  readonly #waiting = new Set<Entry>();
  readonly #stopped = new AbortController();
  #allowance: { tokens: number; at: number };
  #writing: Promise<void> | undefined;

  constructor(
    components: { client: Pick<KubeClient, 'call' | 'namespace'>; clock: Clock; log: Logger },
    options: KubeEventsOptions,
  ) {
    this.#client = components.client;
    this.#clock = components.clock;
    this.#log = components.log;
    this.#sampler = new LogSampler({ clock: components.clock });
    this.#options = { burst: 25, spacingMs: 1_000, ...options };
    this.#allowance = { tokens: this.#options.burst, at: components.clock.monotonic() };
  }

  record(event: GatewayEvent): void {
    if (this.#stopped.signal.aborted) return;
    const entry = this.#entryOf(event);
    entry.count++;
    entry.lastAt = this.#now();
    this.#waiting.add(entry);
    this.#writing ??= this.#write();
  }

  /** Writes what waits as far as `signal` allows. */
  async stop(signal: AbortSignal): Promise<void> {
    if (signal.aborted) this.#stopped.abort();
    signal.addEventListener('abort', () => this.#stopped.abort(), { once: true });
    await this.#writing;
    this.#stopped.abort();
  }

  /** The object in which this event is counted. */
  #entryOf(event: GatewayEvent): Entry {
    const { message: text, ...rest } = event;
    const combined = this.#isOneOfMany(event);
    const message = (combined ? `(combined from similar events) ${text}` : text).slice(0, MAX_MESSAGE);
    const identity = [event.secret, event.reason, event.type, combined ? '' : message].join('\n');
    const known = this.#entries.get(identity);
    this.#entries.delete(identity);
    const isCurrent = known && this.#clock.now() - Date.parse(known.lastAt) < TTL_MS;
    const entry = isCurrent ? known : this.#create(identity, rest, message);
    entry.message = message;
    // Kept in the order of use: the one that was silent longest is forgotten first.
    this.#entries.set(identity, entry);
    if (this.#entries.size > MAX_ENTRIES) {
      const [oldest, dropped] = this.#entries.entries().next().value!;
      this.#entries.delete(oldest);
      this.#waiting.delete(dropped);
    }
    return entry;
  }

  #create(identity: string, event: Entry['event'], message: string): Entry {
    const now = this.#now();
    // Replicas must not write into each other's objects: counts would be lost.
    const id = hash('sha256', `${this.#options.replica}\n${identity}\n${now}`).slice(0, 16);
    return {
      name: `${event.secret}.${id}`,
      firstAt: now,
      lastAt: now,
      event,
      message,
      count: 0,
      isStored: false,
    };
  }

  #isOneOfMany({ secret, reason }: GatewayEvent): boolean {
    const now = this.#clock.monotonic();
    const key = `${secret}\n${reason}`;
    const known = this.#similar.get(key);
    const window = known && now - known.since < SIMILAR.windowMs ? known : { since: now, count: 0 };
    window.count++;
    this.#similar.set(key, window);
    return window.count > SIMILAR.limit;
  }

  async #write(): Promise<void> {
    await this.#writeAll();
    // In the same turn as the look that found nothing more to write.
    this.#writing = undefined;
  }

  async #writeAll(): Promise<void> {
    for (const entry of this.#waiting) {
      try {
        await this.#allowed();
        this.#waiting.delete(entry);
        await this.#send(entry);
      } catch (error) {
        this.#waiting.delete(entry);
        if (this.#stopped.signal.aborted) return;
        const suppressed = this.#sampler.pass('events');
        if (suppressed !== undefined)
          this.#log.warn({ problem: describeError(error), suppressed }, 'a Kubernetes Event is not written');
      }
    }
  }

  async #send(entry: Entry): Promise<void> {
    const { name, message, count, lastAt } = entry;
    const path = `/api/v1/namespaces/${this.#client.namespace}/events`;
    const { signal } = this.#stopped;
    if (entry.isStored) {
      try {
        await this.#client.call({
          method: 'PATCH',
          path: `${path}/${name}`,
          contentType: 'application/merge-patch+json',
          body: { count, message, lastTimestamp: lastAt },
          signal,
        });
        return;
      } catch (error) {
        if (!saysNotFound(error)) throw error; // forgotten by the API: written anew
      }
    }
    await this.#client.call({ method: 'POST', path, body: this.#print(entry), signal });
    entry.isStored = true;
  }

  #print({ name, event, message, count, firstAt, lastAt }: Entry): unknown {
    const { namespace } = this.#client;
    return {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name, namespace },
      involvedObject: { apiVersion: 'v1', kind: 'Secret', name: event.secret, namespace },
      reason: event.reason,
      type: event.type,
      message,
      count,
      firstTimestamp: firstAt,
      lastTimestamp: lastAt,
      source: { component: COMPONENT },
      reportingComponent: COMPONENT,
      reportingInstance: this.#options.replica.slice(0, 128),
    };
  }

  /** A bucket of tokens. */
  async #allowed(): Promise<void> {
    const { burst, spacingMs } = this.#options;
    for (;;) {
      const now = this.#clock.monotonic();
      const { tokens, at } = this.#allowance;
      const filled = Math.min(burst, tokens + Math.max(0, now - at) / spacingMs);
      if (filled >= 1) {
        this.#allowance = { tokens: filled - 1, at: now };
        return;
      }
      this.#allowance = { tokens: filled, at: now };
      await this.#clock.sleep(Math.ceil((1 - filled) * spacingMs), this.#stopped.signal);
    }
  }

  /** `metav1.Time` has whole seconds. */
  #now(): string {
    return new Date(this.#clock.now()).toISOString().replace(/\.\d+Z$/, 'Z');
  }
}
