import { type Clock, systemClock } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import { type Logger, silentLogger } from '../core/log.ts';
import type { Unsubscribe } from '../core/property.ts';
import { SDK_AGENT } from '../protocol/agent.ts';
import type { CloseReason } from '../protocol/close-reasons.ts';
import { createResponse, type Message } from '../protocol/message.ts';
import { readRenewRequest } from '../protocol/renew-request.ts';
import { ConnectionKeeper } from './connection-keeper.ts';
import { CredentialStore } from './credential-store.ts';
import {
  type EdgeClientComponents,
  type EdgeClientOptions,
  type EdgeClientSettings,
  withDefaults,
} from './edge-client-options.ts';
import { type EdgeEventHandler, EdgeEventHandlers, type EdgeEvents } from './edge-events.ts';
import { EdgeIdentity } from './edge-identity.ts';
import { Inbox } from './inbox.ts';
import { loadOrJoin } from './join.ts';
import { type MessageDraft, messageOf } from './message-draft.ts';
import { Outbox } from './outbox.ts';
import { ask } from './question.ts';
import { createTransport } from './transports/create-transport.ts';
import type { EdgeCredentials, EdgeLink, EdgeTransport } from './transports/transport.ts';

/** Goes to the hub as `User-Agent`. */
const AGENT = `${SDK_AGENT}0.1`;
/** A link that lived this long ends a row of failed attempts. */
const LASTING_MS = 10_000;
/** How long acknowledgements may catch up before a link is replaced. */
const CATCH_UP_MS = 2_000;

export interface JoinOptions {
  /** From `sallyport token create`; not looked at once the node has joined. */
  readonly token: string;
  /** Ends the attempt to join. */
  readonly signal?: AbortSignal;
  /** Told of each wait for the hub: for how long, milliseconds, and why. */
  readonly onWait?: (delayMs: number, problem: string) => void;
}

export interface RequestOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * An edge node's end of Sallyport: keeps a link to the hub, renews its certificate, delivers messages both
 * ways.
 *
 * ```ts
 * await using client = await EdgeClient.join({ hub, node: 'edge-1', directory: './edge-1', token });
 * client.on('message', (message) => apply(message.content));
 * await client.connect();
 * const content = { phase: 'Running' };
 * await client.send({ resource: 'default/podstatus/p-1', operation: 'update', content });
 * ```
 */
export class EdgeClient {
  readonly node: string;
  readonly #identity: EdgeIdentity;
  readonly #transport: EdgeTransport;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #random: () => number;
  readonly #settings: EdgeClientSettings;
  readonly #events = new EdgeEventHandlers();
  readonly #outbox: Outbox;
  readonly #inbox: Inbox;
  #keeper: ConnectionKeeper | undefined;
  #link: EdgeLink | undefined;
  #closed: Promise<void> | undefined;
  /** The timers of the clock let the process end, which a client that waits for its next attempt must not. */
  #processGuard: NodeJS.Timeout | undefined;

  /**
   * A client for the node whose certificate is in the folder; with none there, or one that is of no use, it
   * joins with the token first. It waits, until the signal ends it, for a hub that cannot be reached or asks
   * it to come back later, and while the node is quarantined.
   * @throws TOKEN_INVALID, CA_MISMATCH, JOIN_REFUSED with the hub's own words, NODE_FOLDER_UNUSABLE
   */
  static join(
    options: EdgeClientOptions & JoinOptions,
    components: EdgeClientComponents = {},
  ): Promise<EdgeClient> {
    return EdgeClient.#create(options, components);
  }

  /**
   * A client for a node that joined before. @throws NOT_JOINED when the folder holds no usable certificate
   */
  static open(options: EdgeClientOptions, components: EdgeClientComponents = {}): Promise<EdgeClient> {
    return EdgeClient.#create(options, components);
  }

  static async #create(
    options: EdgeClientOptions & Partial<JoinOptions>,
    components: EdgeClientComponents,
  ): Promise<EdgeClient> {
    const settings = withDefaults(options);
    const { clock = systemClock, logger = silentLogger } = components;
    const store = new CredentialStore(settings.directory, { logger });
    const credentials = await loadOrJoin(
      { store, clock, logger },
      {
        node: settings.node,
        address: settings.hub.https,
        timeoutMs: settings.connectTimeoutMs,
        random: components.random ?? Math.random,
        ...(options.onWait ? { onWait: options.onWait } : {}),
        ...(options.token === undefined ? {} : { token: options.token }),
        ...(options.signal ? { signal: options.signal } : {}),
      },
    );
    return new EdgeClient({ ...components, credentials, store }, options);
  }

  /** With credentials at hand; `join` and `open` are the usual ways. @throws CONFIG_INVALID */
  constructor(
    components: EdgeClientComponents & { credentials: EdgeCredentials; store: CredentialStore },
    options: EdgeClientOptions,
  ) {
    const settings = withDefaults(options);
    this.node = settings.node;
    this.#settings = settings;
    this.#clock = components.clock ?? systemClock;
    this.#logger = (components.logger ?? silentLogger).child({ node: settings.node });
    this.#random = components.random ?? Math.random;
    const base = { clock: this.#clock, logger: this.#logger };
    this.#transport = components.transport ?? createTransport(base, settings);
    const { credentials, store } = components;
    this.#identity = new EdgeIdentity(
      { ...base, credentials, store, random: this.#random },
      { address: settings.hub.https, timeoutMs: settings.connectTimeoutMs },
    );
    this.#outbox = new Outbox(base, { ...settings.queue, ackTimeoutMs: settings.ackTimeoutMs });
    this.#inbox = new Inbox({
      ...base,
      deliver: (message) => this.#deliver(message),
      reply: (answer) => void this.#keeper?.link?.send(answer).catch(() => {}),
    });
    this.#identity.credentials.onChange(() => void this.#useNewCertificate());
  }

  /** True while there is a link. */
  get connected(): boolean {
    return this.#link !== undefined;
  }

  /** Until when the present certificate is valid. */
  get notAfter(): Date {
    return this.#identity.notAfter;
  }

  /** Messages waiting to be sent or acknowledged. */
  get queued(): number {
    return this.#outbox.size;
  }

  on<E extends keyof EdgeEvents>(event: E, handler: EdgeEventHandler<E>): Unsubscribe {
    return this.#events.on(event, handler);
  }

  /**
   * Connects and stays connected until {@link close}; resolves with the first link. Messages may be sent
   * before.
   * @throws SHUT_OUT when the hub says never, QUIC_LIBRARY_MISSING where QUIC alone is wanted,
   * CLIENT_CLOSED; the signal's reason ends the waiting, not the trying
   */
  async connect({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    this.#throwIfClosed();
    signal?.throwIfAborted();
    if (this.#link) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = () => reject(signal!.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    const offs = [
      this.on('connected', () => resolve()),
      this.on('disconnected', ({ final }) => {
        if (final) reject(final);
      }),
    ];
    this.#start();
    try {
      await promise;
    } finally {
      for (const off of offs) off();
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /**
   * Sends a message, now or after the next connect. Resolves when the hub has it for good; with
   * `acknowledged: false` when it went out, which is all that CloudCore can tell. `query` and `patch` are
   * questions in KubeEdge, which the hub does not acknowledge by itself: use {@link request} for them.
   * @throws QUEUE_FULL, HUB_REFUSED_MESSAGE, MESSAGE_INVALID, CLIENT_CLOSED, SHUT_OUT when the hub says never
   */
  async send(
    message: Message | MessageDraft,
    { acknowledged = true }: { acknowledged?: boolean } = {},
  ): Promise<void> {
    this.#throwIfClosed();
    const whole = messageOf(message, { now: this.#clock.now(), sync: acknowledged });
    await this.#outbox.add(whole, { answered: acknowledged });
  }

  /**
   * Asks the cloud and resolves with the message that answers (`parent_msg_id`). The question is repeated
   * after a reconnect.
   * @throws ANSWER_TIMEOUT, HUB_REFUSED_MESSAGE for an answer that is an error, and what {@link send} throws
   */
  async request(message: Message | MessageDraft, options: RequestOptions = {}): Promise<Message> {
    this.#throwIfClosed();
    // Not `sync`: the hub's "OK" for having taken it would look like the answer.
    const whole = messageOf(message, { now: this.#clock.now(), sync: false });
    const { timeoutMs = this.#settings.requestTimeoutMs, signal } = options;
    return ask({ outbox: this.#outbox, clock: this.#clock }, whole, { timeoutMs, signal });
  }

  /** Answers a message of the hub, in place of the acknowledgement. Resolves when the answer went out. */
  async respond(to: Message, content: unknown, operation: 'response' | 'error' = 'response'): Promise<void> {
    this.#throwIfClosed();
    const answer = createResponse(to, content, { now: this.#clock.now(), operation });
    this.#inbox.answered(answer);
    await this.#outbox.add(answer, { answered: false });
  }

  /** A new certificate and a new link with it, now. @throws JOIN_REFUSED, CONNECT_FAILED */
  async renew(): Promise<void> {
    this.#throwIfClosed();
    await this.#identity.renew();
  }

  /** Leaves the hub. What was not acknowledged is given up: its senders get CLIENT_CLOSED. */
  close(): Promise<void> {
    this.#closed ??= this.#stop(new SallyportError('CLIENT_CLOSED'));
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #start(): void {
    if (this.#keeper) return;
    this.#processGuard = setInterval(() => {}, 2 ** 31 - 1);
    const { projectId, maxMessageBytes, connectTimeoutMs, writeTimeoutMs, heartbeatMs } = this.#settings;
    this.#keeper = new ConnectionKeeper(
      {
        identity: this.#identity,
        transport: this.#transport,
        clock: this.#clock,
        logger: this.#logger,
        handler: {
          onUp: (link) => this.#up(link),
          onDown: (reason, final) => this.#down(reason, final),
          onMessage: (message) => this.#received(message),
          onBetter: (transport) => void this.#replaceLink(transport),
          onError: (error) => this.#failed(error),
        },
      },
      {
        connect: { projectId, maxMessageBytes, connectTimeoutMs, writeTimeoutMs, agent: AGENT },
        reconnect: { ...this.#settings.reconnect, random: this.#random },
        heartbeatMs,
        lastingMs: LASTING_MS,
      },
    );
    this.#identity.start((error) => this.#failed(error));
    this.#keeper.start();
  }

  async #stop(error: SallyportError): Promise<void> {
    this.#identity.stop();
    this.#outbox.failAll(error);
    const keeper = this.#keeper;
    this.#link = undefined;
    this.#outbox.detach();
    await keeper?.close();
    clearInterval(this.#processGuard);
    if (keeper) this.#emit('disconnected', { reason: undefined, final: error });
  }

  #up(link: EdgeLink): void {
    this.#link = link;
    this.#outbox.attach(link);
    this.#emit('connected', { transport: link.transport, hub: link.remoteAddress });
  }

  #down(reason: CloseReason | undefined, final: SallyportError | undefined): void {
    this.#link = undefined;
    this.#outbox.detach();
    if (final) {
      // A person has to act; `connect` starts anew.
      this.#keeper = undefined;
      this.#identity.stop();
      clearInterval(this.#processGuard);
      this.#outbox.failAll(final);
    }
    this.#emit('disconnected', { reason, final });
  }

  /** What the hub asks of the client itself is nothing for the program. */
  async #deliver(message: Message): Promise<boolean> {
    const request = readRenewRequest(message);
    if (!request) return this.#events.emit('message', message);
    this.#identity.renewWithin(request);
    return true;
  }

  #received(message: Message): void {
    if (this.#outbox.settle(message)) return;
    void this.#inbox.receive(message);
  }

  async #useNewCertificate(): Promise<void> {
    this.#emit('renewed', { notAfter: this.#identity.notAfter });
    await this.#replaceLink();
  }

  async #replaceLink(better?: EdgeTransport): Promise<void> {
    if (!this.#link || !this.#keeper) return;
    try {
      await this.#outbox.hold(CATCH_UP_MS);
      await this.#keeper?.replace(better);
    } finally {
      this.#outbox.resume();
    }
  }

  #failed(error: unknown): void {
    this.#emit('error', error instanceof Error ? error : new Error(String(error)));
  }

  #emit<E extends Exclude<keyof EdgeEvents, 'message'>>(event: E, value: EdgeEvents[E]): void {
    this.#events.emit(event, value).catch((err: unknown) => {
      this.#logger.warn({ err, event }, 'a handler of the program failed');
    });
  }

  #throwIfClosed(): void {
    if (this.#closed) throw new SallyportError('CLIENT_CLOSED');
  }
}
