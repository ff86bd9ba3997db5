import { rm, writeFile } from 'node:fs/promises';
import type { Clock, Timer } from '../core/clock.ts';
import { describeError } from '../core/errors.ts';
import type { HealthRegistry } from '../core/health.ts';
import type { Component } from '../core/lifecycle.ts';
import type { Logger } from '../core/log.ts';

export interface HealthFileComponents {
  readonly clock: Clock;
  readonly log: Logger;
  readonly health: HealthRegistry;
}

/** How often it is written, milliseconds. The HEALTHCHECK of the image looks for one of the last 15 s. */
const PERIOD_MS = 5_000;

/**
 * A file that is written again and again while the gateway is ready, and is not there otherwise. Whoever
 * checks the health of a container looks at its age, and starts no Node for that
 * (docs/decisions/health-file.md).
 */
export class HealthFile implements Component {
  readonly name = 'health file';
  readonly #components: HealthFileComponents;
  readonly #file: string;
  #timer: Timer | undefined;
  #telling: Promise<void> = Promise.resolve();
  #complained = false;

  constructor(components: HealthFileComponents, file: string) {
    this.#components = components;
    this.#file = file;
  }

  async start(): Promise<void> {
    this.#timer = this.#components.clock.setInterval(() => this.#next(), PERIOD_MS);
    this.#next();
    await this.#telling;
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    await this.#telling;
    await rm(this.#file, { force: true }).catch(() => {});
  }

  #next(): void {
    this.#telling = this.#telling.then(() => this.#tell());
  }

  async #tell(): Promise<void> {
    const { health, log, clock } = this.#components;
    const isReady = (await health.run('readyz')).every(({ ok }) => ok);
    try {
      if (isReady) await writeFile(this.#file, `ready at ${new Date(clock.now()).toISOString()}\n`);
      else await rm(this.#file, { force: true });
    } catch (error) {
      if (this.#complained) return;
      this.#complained = true;
      // In a pod it is the kubelet that asks; so this is no warning.
      log.info(
        { file: this.#file, problem: describeError(error) },
        'the health file cannot be written; the HEALTHCHECK of the image would fail',
      );
    }
  }
}
