import { retry } from '../core/backoff.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { isSallyportError, SallyportError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import { agentWithTrust } from '../protocol/agent.ts';
import { type CloseReason, closeReason } from '../protocol/close-reasons.ts';
import { createMessage, type Message } from '../protocol/message.ts';
import { fixOf } from '../protocol/rejection-reasons.ts';
import { casOf, sha256Of } from './credentials.ts';
import type { EdgeIdentity } from './edge-identity.ts';
import { type ReconnectPolicy, reconnectDelayMs } from './reconnect-delay.ts';
import {
  type ConnectOptions,
  type EdgeCredentials,
  type EdgeLink,
  type EdgeTransport,
  refusalOf,
} from './transports/transport.ts';

export interface KeeperComponents {
  readonly identity: EdgeIdentity;
  readonly transport: EdgeTransport;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly handler: KeeperHandler;
}

export interface KeeperHandler {
  /** A link is up; called again, with no `onDown` between, when one link replaces another. */
  onUp(link: EdgeLink): void;
  /** No link any more, and when there is a `final` error no further attempt either. */
  onDown(reason: CloseReason | undefined, final: SallyportError | undefined): void;
  onMessage(message: Message): void;
  /** A better transport gets through: {@link ConnectionKeeper.replace} moves to it. */
  onBetter(transport: EdgeTransport): void;
  /** An attempt to connect or to renew failed. */
  onError(error: unknown): void;
}

export interface KeeperOptions {
  readonly connect: Omit<ConnectOptions, 'signal'>;
  readonly reconnect: ReconnectPolicy;
  /** Period of KubeEdge's keepalive message. */
  readonly heartbeatMs: number;
  /** A link that lived this long ends a row of failures. */
  readonly lastingMs: number;
}

interface Held {
  readonly link: EdgeLink;
  readonly credentials: EdgeCredentials;
  readonly since: number;
  readonly ended: Promise<CloseReason | undefined>;
}

interface ConnectHow {
  readonly signal?: AbortSignal | undefined;
  readonly through?: EdgeTransport | undefined;
}

/** Keeps one link to the hub: connects, beats, obeys why it was closed, and comes back. */
export class ConnectionKeeper {
  readonly #components: KeeperComponents;
  readonly #options: KeeperOptions;
  readonly #stop = new AbortController();
  #current: Held | undefined;
  #replacing: Promise<void> | undefined;
  #running: Promise<void> | undefined;

  constructor(components: KeeperComponents, options: KeeperOptions) {
    this.#components = components;
    this.#options = options;
  }

  get link(): EdgeLink | undefined {
    return this.#current?.link;
  }

  start(): void {
    this.#running ??= this.#run().catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#components.handler.onError(error);
    });
  }

  /** Tells the hub, and resolves when nothing goes on any more. */
  async close(): Promise<void> {
    this.#stop.abort(new Error('the edge client was closed'));
    const held = this.#current;
    held?.link.close(closeReason('Normal'));
    await Promise.all([this.#running, this.#replacing, held?.ended]);
  }

  /**
   * A new link with the present certificate, made before the old one is let go; when that fails the old one
   * goes on meanwhile.
   * @param better through this transport, and tried once; else through the usual one until it is there
   */
  replace(better?: EdgeTransport): Promise<void> {
    this.#replacing ??= this.#replace(better).finally(() => {
      this.#replacing = undefined;
    });
    return this.#replacing;
  }

  async #run(): Promise<void> {
    const { clock, handler, identity } = this.#components;
    const signal = this.#stop.signal;
    let failures = 0;
    for (;;) {
      const end = await this.#connectAndServe();
      if (signal.aborted) return;
      failures = end.lasted ? 0 : failures + 1;
      const { reason } = end;
      const final = end.final ?? (reason?.retry === 'never' ? shutOutBy(reason) : undefined);
      if (end.wasUp || final) handler.onDown(reason, final);
      if (final) return;
      // A certificate that is newer than the one the hub complained about is worth a try first.
      const renewed =
        reason?.retry === 'renew' &&
        (end.credentials !== identity.credentials.value || (await this.#renew(signal)));
      const delayMs = reconnectDelayMs(reason, { failures, renewed }, this.#options.reconnect);
      if (signal.aborted) return;
      await clock.sleep(delayMs, signal);
    }
  }

  async #connectAndServe() {
    const { clock, handler, logger, identity, transport } = this.#components;
    const credentials = identity.credentials.value;
    try {
      this.#adopt(await this.#connect(credentials));
    } catch (error) {
      const reason = refusalOf(error);
      if (!this.#stop.signal.aborted) {
        logger.debug({ err: error, reason: reason?.name }, 'could not connect');
        handler.onError(error);
      }
      // What is not installed does not come by itself.
      const final = isSallyportError(error, 'QUIC_LIBRARY_MISSING') ? error : undefined;
      return { reason, lasted: false, wasUp: false, credentials, final };
    }
    // Renewed while the old certificate was on its way to the hub.
    if (identity.credentials.value !== credentials) void this.replace();
    for (;;) {
      const held = this.#current!;
      const reason = await held.ended;
      // The hub closes the old link because the new one took over: perhaps before we know that the new one is
      // up.
      if (this.#replacing && reason?.name === 'TakenOver') await this.#replacing;
      if (this.#current !== held) continue;
      this.#current = undefined;
      const lasted = clock.monotonic() - held.since >= this.#options.lastingMs;
      logger.info({ reason: reason?.name ?? 'lost', transport: held.link.transport }, 'disconnected');
      if (!reason && !lasted) await transport.distrust?.(held.link);
      return { reason, lasted, wasUp: true, credentials: held.credentials, final: undefined };
    }
  }

  async #renew(signal: AbortSignal): Promise<boolean> {
    try {
      await this.#components.identity.renew(signal);
      return true;
    } catch (error) {
      if (!signal.aborted) this.#components.handler.onError(error);
      return false;
    }
  }

  async #replace(better: EdgeTransport | undefined): Promise<void> {
    const { clock, identity, handler, logger } = this.#components;
    const old = this.#current;
    if (!old) return;
    const ended = new AbortController();
    void old.ended.then((reason) => {
      if (reason?.name !== 'TakenOver') ended.abort(new Error('the link to replace has ended'));
    });
    const signal = AbortSignal.any([this.#stop.signal, ended.signal]);
    try {
      const fresh = await retry(
        () => this.#connect(identity.credentials.value, { signal, through: better }),
        {
          clock,
          signal,
          ...this.#options.reconnect,
          isRetryable: (error) => !better && refusalOf(error)?.retry !== 'never',
          onRetry: (error) => handler.onError(error),
        },
      );
      if (this.#current !== old) return fresh.link.close(closeReason('Normal'));
      this.#adopt(fresh);
      old.link.close(closeReason('Normal'));
    } catch (error) {
      if (!signal.aborted) logger.warn({ err: error }, 'the link could not be replaced; the old one goes on');
    }
    // Renewed while the certificate before it was on its way to the hub.
    if (better && this.#current && this.#current.credentials !== identity.credentials.value)
      await this.#replace(undefined);
  }

  async #connect(
    credentials: EdgeCredentials,
    { signal = this.#stop.signal, through = this.#components.transport }: ConnectHow = {},
  ): Promise<Held> {
    const { clock } = this.#components;
    const link = await through.connect(credentials, this.#connectOptions(credentials, signal));
    const { promise: ended, resolve } = Promise.withResolvers<CloseReason | undefined>();
    const held = { link, credentials, since: clock.monotonic(), ended };
    link.receive({
      onMessage: (message) => this.#components.handler.onMessage(message),
      onClose: resolve,
    });
    if (this.#stop.signal.aborted) link.close(closeReason('Normal'));
    return held;
  }

  #connectOptions(credentials: EdgeCredentials, signal: AbortSignal): ConnectOptions {
    const { connect } = this.#options;
    // So that the hub knows whom a change of CA would cut off.
    const agent = agentWithTrust(connect.agent, casOf(credentials).map(sha256Of));
    return { ...connect, agent, signal };
  }

  #adopt(held: Held): void {
    const { clock, handler, logger } = this.#components;
    this.#current = held;
    logger.info({ transport: held.link.transport, hub: held.link.remoteAddress }, 'connected');
    this.#beat(held);
    const { heartbeatMs, reconnect } = this.#options;
    const timers: Timer[] = [clock.setInterval(() => this.#beat(held), heartbeatMs)];
    // At a random moment: a fleet that comes back must not do so twice at once.
    if (this.#components.transport.findBetter)
      timers.push(clock.setTimeout(() => void this.#findBetter(held), heartbeatMs * reconnect.random()));
    void held.ended.then(() => {
      for (const timer of timers) timer.cancel();
    });
    handler.onUp(held.link);
  }

  async #findBetter(held: Held): Promise<void> {
    const { transport, handler } = this.#components;
    const options = this.#connectOptions(held.credentials, this.#stop.signal);
    const better = await transport.findBetter?.(held.link, held.credentials, options);
    if (better && this.#current === held) handler.onBetter(better);
  }

  /**
   * KubeEdge's keepalive, as EdgeCore sends it (docs/protocol.md). A link that cannot take it says so by
   * ending.
   */
  #beat({ link }: Held): void {
    const keepalive = createMessage(
      { source: link.transport, group: 'resource', operation: 'keepalive', resource: 'node' },
      'ping',
      { now: this.#components.clock.now() },
    );
    link.send(keepalive).catch(() => {});
  }
}

function shutOutBy({ name, text }: CloseReason): SallyportError {
  return new SallyportError('SHUT_OUT', { reason: text, remedy: fixOf(name) ?? text });
}
