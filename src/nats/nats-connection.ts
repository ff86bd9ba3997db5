import { type NatsConnection as Connection, connect, type Status } from '@nats-io/transport-node';
import type { Config } from '../config/schema.ts';
import { backoffDelayMs } from '../core/backoff.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import type { Component } from '../core/lifecycle.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Unsubscribe } from '../core/property.ts';
import { natsCredentials } from './nats-credentials.ts';

/** Between attempts to connect; half of it is jitter, so that replicas do not return together. */
const RECONNECT = { minMs: 100, maxMs: 5_000 } as const;
/** A server that answers none of this many pings is given up: after `PINGS_MISSED` × `PING_MS` at most. */
const PING_MS = 3_000;
const PINGS_MISSED = 2;

export type NatsConnectionOptions = Pick<
  Config['bus']['nats'],
  'servers' | 'credsFile' | 'tokenFile' | 'user' | 'passwordFile' | 'tls' | 'requestTimeoutMs'
> & {
  /** Shown in the monitoring of NATS. */
  readonly replica: string;
};

/**
 * `fresh`: subscriptions of an earlier connection are gone and must be made anew; else the client made them
 * again by itself.
 */
export type OnNatsUp = (connection: Connection, fresh: boolean) => void;

/**
 * The one connection of a replica to NATS: connects and reconnects for ever, with jitter, whatever the reason
 * of a failure, and tells who asked. What was under way when it broke is lost; whoever publishes has to send
 * again.
 */
export class NatsConnection implements Component {
  readonly name = 'nats';
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #options: NatsConnectionOptions;
  readonly #credentials: ReturnType<typeof natsCredentials>;
  readonly #stopping = new AbortController();
  readonly #onUp = new Set<OnNatsUp>();
  readonly #onDown = new Set<() => void>();
  #connection: Connection | undefined;
  #up = false;
  #everUp = false;
  #problem: string | undefined = 'it has not been reached yet';
  #attempt = 0;
  #run: Promise<void> | undefined;
  #toSend: (() => void)[] = [];

  /** @throws BUS_CREDENTIALS_UNREADABLE, CONFIG_INVALID */
  constructor(
    { clock, log, metrics }: { clock: Clock; log: Logger; metrics: Metrics },
    options: NatsConnectionOptions,
  ) {
    this.#clock = clock;
    this.#log = log;
    this.#metrics = metrics;
    this.#options = options;
    this.#credentials = natsCredentials(options);
  }

  /** Begins to connect, and waits for nothing: a gateway starts without NATS, and says so. */
  async start(): Promise<void> {
    this.#run ??= this.#connectForEver();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#down('it is stopped');
    await this.#connection?.close();
    await this.#run;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Why nothing can be sent now; undefined while connected. Holds no secret. */
  problem(): string | undefined {
    return this.#up ? undefined : `nats: ${this.#problem}`;
  }

  /** The living connection. @throws BUS_UNAVAILABLE while there is none */
  current(): Connection {
    if (!this.#up) throw new SallyportError('BUS_UNAVAILABLE', { problem: this.problem() });
    return this.#connection!;
  }

  /** Resolves at once when connected, else with the next connection. @throws the signal's reason */
  whenUp(signal: AbortSignal): Promise<Connection> {
    if (this.#up) return Promise.resolve(this.#connection!);
    return new Promise((resolve, reject) => {
      const finish = () => {
        off();
        signal.removeEventListener('abort', onAbort);
      };
      const onAbort = () => {
        finish();
        reject(signal.reason);
      };
      const off = this.onUp((connection) => {
        finish();
        resolve(connection);
      });
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  /**
   * Sends at the end of this turn of the event loop, in order. The client writes to its socket at the end of
   * every run of microtasks, which is once a message where each comes over a connection of its own; what is
   * sent here goes in one write a turn.
   * @param send must not throw
   */
  atTurnEnd(send: () => void): void {
    if (this.#toSend.push(send) === 1) setImmediate(() => this.flush());
  }

  /** Sends now what waits for the end of the turn. */
  flush(): void {
    const toSend = this.#toSend;
    this.#toSend = [];
    for (const send of toSend) send();
  }

  /** Called after each connect and reconnect; not for a connection that is up already. */
  onUp(listener: OnNatsUp): Unsubscribe {
    this.#onUp.add(listener);
    return () => this.#onUp.delete(listener);
  }

  /** Called when the connection is lost: answers that are awaited will not come. */
  onDown(listener: () => void): Unsubscribe {
    this.#onDown.add(listener);
    return () => this.#onDown.delete(listener);
  }

  async #connectForEver(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        const connection = await this.#connect();
        this.#connection = connection;
        if (signal.aborted) await connection.close();
        else this.#rises(true);
        for await (const status of connection.status()) this.#hear(status);
        const failure = await connection.closed();
        if (!signal.aborted) this.#down(failure ? describeError(failure) : 'the connection was closed');
      } catch (error) {
        this.#down(describeError(error));
      }
      await this.#clock.sleep(this.#delayMs(), signal).catch(() => {});
    }
  }

  #connect(): Promise<Connection> {
    return connect({
      ...this.#credentials,
      name: `sallyport ${this.#options.replica}`,
      timeout: this.#options.requestTimeoutMs,
      pingInterval: PING_MS,
      maxPingOut: PINGS_MISSED,
      maxReconnectAttempts: -1,
      reconnectDelayHandler: () => this.#delayMs(),
      // Credentials are rotated, and servers are repaired: no failure is final.
      ignoreAuthErrorAbort: true,
      noAsyncTraces: true,
    });
  }

  #delayMs(): number {
    return backoffDelayMs(this.#attempt++, RECONNECT);
  }

  #hear(status: Status): void {
    if (status.type === 'reconnect') this.#rises(false);
    else if (status.type === 'disconnect') this.#down('the connection was lost');
    else if (status.type === 'staleConnection') this.#down('the server does not answer');
    else if (status.type === 'error' && !this.#up) this.#problem = describeError(status.error);
    else if (status.type === 'error')
      this.#log.warn({ problem: describeError(status.error) }, 'NATS reports an error');
  }

  #rises(fresh: boolean): void {
    this.#attempt = 0;
    this.#up = true;
    this.#problem = undefined;
    this.#metrics.busConnected.set(1);
    if (this.#everUp) this.#metrics.busReconnects.inc();
    this.#everUp = true;
    const connection = this.#connection!;
    this.#log.info({ server: connection.getServer(), fresh }, 'connected to NATS');
    for (const listener of [...this.#onUp]) listener(connection, fresh);
  }

  #down(problem: string): void {
    const isNews = this.#up || this.#attempt === 0;
    this.#problem = problem;
    this.#metrics.busConnected.set(0);
    if (isNews && !this.#stopping.signal.aborted) {
      this.#log.warn({ problem }, 'not connected to NATS; trying until it comes');
    }
    if (!this.#up) return;
    this.#up = false;
    for (const listener of [...this.#onDown]) listener();
  }
}
