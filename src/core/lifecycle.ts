import type { Clock } from './clock.ts';
import { SallyportError } from './errors.ts';

/**
 * A component that reacts to the signal may still finish by itself, milliseconds; thousands of sockets are
 * not closed in one turn.
 */
const GRACE_MS = 500;

/** Something that runs. `stop` is called once, and may use `signal` as its cue to stop being polite. */
export interface Component {
  readonly name: string;
  start(signal: AbortSignal): Promise<void>;
  stop(signal: AbortSignal): Promise<void>;
}

/**
 * Starts components in order and stops them in reverse. A start that fails stops what had been started and
 * rethrows the first cause; a second `stop` returns the first one's promise.
 */
export class Lifecycle {
  readonly #components: readonly Component[];
  readonly #clock: Clock;
  readonly #started: Component[] = [];
  #stopping: Promise<void> | undefined;

  constructor(components: readonly Component[], clock: Clock) {
    this.#components = components;
    this.#clock = clock;
  }

  async start(options: { signal?: AbortSignal; stopTimeoutMs: number }): Promise<void> {
    const signal = options.signal ?? new AbortController().signal;
    for (const component of this.#components) {
      try {
        signal.throwIfAborted();
        this.#started.push(component);
        await component.start(signal);
      } catch (cause) {
        await this.stop({ timeoutMs: options.stopTimeoutMs }).catch(() => {});
        throw cause;
      }
    }
  }

  /** @throws STOP_TIMEOUT or the first error of a component, after every component was told to stop */
  stop(options: { timeoutMs: number }): Promise<void> {
    this.#stopping ??= this.#stopAll(options.timeoutMs);
    return this.#stopping;
  }

  async #stopAll(timeoutMs: number): Promise<void> {
    const deadline = new AbortController();
    const timer = this.#clock.setTimeout(() => deadline.abort(), timeoutMs);
    const failures: unknown[] = [];
    for (const component of this.#started.reverse()) {
      const late = new Promise<never>((_, reject) => {
        const fail = () =>
          reject(new SallyportError('STOP_TIMEOUT', { component: component.name, timeoutMs }));
        if (deadline.signal.aborted) setTimeout(fail, GRACE_MS);
        else deadline.signal.addEventListener('abort', () => setTimeout(fail, GRACE_MS), { once: true });
      });
      await Promise.race([component.stop(deadline.signal), late]).catch((error) => failures.push(error));
    }
    timer.cancel();
    if (failures.length > 0) throw failures[0];
  }
}
