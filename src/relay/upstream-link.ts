import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { RelayedEdge, UpstreamInfo, UpstreamLink } from '../contracts/upstream-relay.ts';
import { backoffDelayMs } from '../core/backoff.ts';
import { batchWrites, sendBatch } from '../core/batch-writes.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { describeError, isSallyportError } from '../core/errors.ts';
import type { Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { answeredId } from '../protocol/answered-id.ts';
import { encodeJson } from '../protocol/codec-json.ts';
import type { Message } from '../protocol/message.ts';
import type { CloudCore, CloudCores } from './cloudcores.ts';
import { type Dialled, type DialParts, dial } from './dial.ts';
import { NodeBooks, QUESTION_MS } from './node-books.ts';

/** EdgeCore returns after 30 s at the earliest; the relay long before. */
const BACKOFF = { minMs: 250, maxMs: 15_000 };
/**
 * A connection that was lost earlier counts as one more failure in a row: two gateways that both have an edge
 * of this name take it from each other.
 */
const STEADY_MS = 30_000;
const PING_MS = 10_000;
/** A CloudCore that answers no ping for so long is frozen. */
const FROZEN_MS = 20_000;
/** Beyond this many buffered bytes the edge is read no further: the high-water mark of Node's sockets. */
const HIGH_WATER = 64 * 1024;
const TEXT = { binary: false } as const;

/** Why a connection to CloudCore is over. */
export type LossReason = 'closed' | 'frozen' | 'silent' | 'moved';

/** What all links share. */
export interface LinkParts extends DialParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly cloudcores: CloudCores;
  readonly random: () => number;
  readonly sampler: LogSampler;
  /** When any node last got an answer, on the monotonic clock. */
  readonly answers: { lastAt: number };
  opened(link: CloudCoreLink): void;
  closed(link: CloudCoreLink): void;
}

/** One node's connection to a CloudCore. Loses it, comes back, and says again what has to be said. */
export class CloudCoreLink implements UpstreamLink {
  readonly node: string;
  readonly #parts: LinkParts;
  readonly #books: NodeBooks;
  readonly #end = new AbortController();
  #edge: RelayedEdge;
  #cloudcore: CloudCore | undefined;
  #socket: WebSocket | undefined;
  /** Under the WebSocket. */
  #stream: Duplex | undefined;
  #state: UpstreamInfo['state'] = 'connecting';
  #since: number;
  /** Since when there is no CloudCore; undefined while there is one. */
  #lostAt: number | undefined;
  #attempt = 0;
  #reconnects = 0;
  #retry: Timer | undefined;
  /** CloudCore has ended the connection, and it is not known yet whether the edge is still here. */
  #isAsking = false;
  #openedAt = 0;
  #heardAt = 0;
  #pingedAt = 0;
  #answeredAt = 0;
  #drained: PromiseWithResolvers<void> | undefined;
  /** Deliveries the edge has not taken yet. */
  #undelivered = 0;

  constructor(parts: LinkParts, edge: RelayedEdge) {
    const { clock, metrics } = parts;
    this.#parts = parts;
    this.#edge = edge;
    this.node = edge.node;
    this.#since = clock.now();
    this.#lostAt = clock.monotonic();
    this.#books = new NodeBooks({
      onDropped: (reason, count) => metrics.messagesDropped.inc({ direction: 'upstream', reason }, count),
    });
    if (edge.whenPlaced) void edge.whenPlaced.then(() => this.#connect());
    else void this.#connect();
  }

  get cloudcore(): CloudCore | undefined {
    return this.#cloudcore;
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  /** How long there has been no CloudCore, milliseconds; 0 while there is one. */
  lostMs(now: number): number {
    return this.#lostAt === undefined ? 0 : now - this.#lostAt;
  }

  info(): UpstreamInfo {
    return {
      ...(this.#cloudcore ? { address: this.#cloudcore.address } : {}),
      state: this.#state,
      since: new Date(this.#since).toISOString(),
      reconnects: this.#reconnects,
      ...this.#books.counts,
    };
  }

  // — from the edge —

  take(message: Message): void | Promise<void> {
    const isAnswer = !!message.header.parent_msg_id;
    const { isOpen } = this;
    this.#edgeIsThere();
    if (isAnswer && !isOpen) {
      // It is for a connection that is over: CloudCore sends again what was not acknowledged.
      this.#parts.metrics.messagesDropped.inc({ direction: 'upstream', reason: 'upstream-lost' });
      return;
    }
    const bytes = message.frame ?? encodeJson(message);
    if (!isAnswer) this.#books.enter(message, bytes, { now: this.#parts.clock.monotonic(), isSent: isOpen });
    if (isOpen) return this.#write(bytes);
  }

  keepalive(message: Message): void {
    this.#edgeIsThere();
    if (this.isOpen) void this.#write(message.frame ?? encodeJson(message));
  }

  rebind(edge: RelayedEdge): void {
    this.#edge = edge;
    this.#undelivered = 0;
    this.#socket?.resume();
    this.#edgeIsThere();
  }

  close(): void {
    if (this.#end.signal.aborted) return;
    this.#end.abort();
    this.#retry?.cancel();
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close(1000);
    if (this.#stream) sendBatch(this.#stream);
    // CloudCore does not always answer the close frame.
    socket?.terminate();
    this.#settleDrained();
    this.#parts.closed(this);
  }

  // — looked at every second —

  sweep(now: number): void {
    const lost = this.isOpen ? this.#whyLost(now) : undefined;
    if (lost) this.#lose(lost);
    this.#books.prune(now);
    if (!this.isOpen || this.#pingedAt > this.#heardAt) return;
    if (now - Math.max(this.#pingedAt, this.#heardAt) < PING_MS) return;
    this.#pingedAt = now;
    this.#socket!.ping();
  }

  #whyLost(now: number): LossReason | undefined {
    if (!this.#parts.cloudcores.has(this.#cloudcore!)) return 'moved';
    // While the edge takes nothing CloudCore is not read: its silence is our doing.
    if (this.#undelivered > 0) return undefined;
    if (this.#pingedAt > this.#heardAt && now - this.#pingedAt >= FROZEN_MS) return 'frozen';
    return this.#isZombie(now) ? 'silent' : undefined;
  }

  /** Nothing was answered here for as long as EdgeCore waits, while others were. */
  #isZombie(now: number): boolean {
    const asked = this.#books.oldestQuestion;
    if (asked === undefined || now - asked < QUESTION_MS) return false;
    return this.#answeredAt <= asked && this.#parts.answers.lastAt > asked;
  }

  // — CloudCore —

  async #connect(except?: CloudCore): Promise<void> {
    if (this.#end.signal.aborted) return;
    const { cloudcores, clock, metrics } = this.#parts;
    const cloudcore = cloudcores.pick(this.node, except);
    this.#cloudcore = cloudcore;
    this.#become('connecting');
    const { projectId } = this.#edge;
    const startedAt = clock.monotonic();
    try {
      const dialled = await dial(this.#parts, {
        node: this.node,
        cloudcore,
        to: 'hub',
        path: `/${projectId}/${this.node}/events`,
        headers: { node_id: this.node, project_id: projectId, ConnectionUse: 'msg' },
        signal: this.#end.signal,
      });
      if (this.#end.signal.aborted) return dialled.socket.terminate();
      cloudcores.works(cloudcore);
      metrics.upstreamConnects.inc({ cloudcore: cloudcore.address, result: 'success' });
      this.#opened(dialled, startedAt);
    } catch (error) {
      if (this.#end.signal.aborted) return;
      cloudcores.failed(cloudcore);
      const result = isSallyportError(error) ? error.code.toLowerCase().replaceAll('_', '-') : 'failed';
      metrics.upstreamConnects.inc({ cloudcore: cloudcore.address, result });
      this.#warn(
        `connect ${result}`,
        { problem: describeError(error) },
        'cannot connect to CloudCore as a node',
      );
      this.#later(cloudcore);
    }
  }

  #opened({ socket, stream }: Dialled, startedAt: number): void {
    const now = this.#parts.clock.monotonic();
    this.#socket = socket;
    this.#stream = stream;
    this.#openedAt = this.#heardAt = this.#pingedAt = this.#answeredAt = now;
    this.#lostAt = undefined;
    this.#become('open');
    this.#parts.log.debug(
      { node: this.node, cloudcore: this.#cloudcore!.address, tookMs: now - startedAt },
      'connected to CloudCore as a node',
    );
    this.#parts.opened(this);
    socket.on('message', (data) => this.#socket === socket && this.#fromCloud(data as Buffer));
    socket.on('pong', () => this.#socket === socket && this.#heard());
    socket.on('close', () => this.#socket === socket && this.#lose('closed'));
    stream.on('drain', () => this.#socket === socket && this.#settleDrained());
    for (const { kind, bytes } of this.#books.replay(now)) {
      if (this.#reconnects > 0 || kind !== 'membership') this.#parts.metrics.upstreamReplayed.inc({ kind });
      socket.send(bytes, { binary: false });
    }
  }

  #heard(): void {
    this.#heardAt = this.#parts.clock.monotonic();
  }

  #fromCloud(data: Buffer): void {
    this.#heard();
    const parent = answeredId(data);
    if (parent) {
      const now = this.#parts.clock.monotonic();
      const answered = this.#books.answered(parent, now);
      if (answered === 'again') return;
      if (answered) {
        this.#answeredAt = this.#parts.answers.lastAt = now;
        this.#parts.metrics.upstreamAnswerSeconds.observe(answered.tookMs / 1_000);
      }
    }
    const taken = this.#edge.fromUpstream(data);
    if (taken) this.#holdBack(taken);
  }

  /** The edge takes nothing more: CloudCore is read no further until it does. */
  #holdBack(taken: Promise<void>): void {
    const socket = this.#socket!;
    const edge = this.#edge;
    this.#undelivered++;
    socket.pause();
    void taken.then(() => {
      if (edge !== this.#edge || --this.#undelivered > 0) return;
      // What was not read meanwhile is no silence of CloudCore.
      this.#heard();
      if (this.#socket === socket) socket.resume();
    });
  }

  #write(bytes: Uint8Array): void | Promise<void> {
    const socket = this.#socket!;
    batchWrites(this.#stream!);
    socket.send(bytes, TEXT);
    if (socket.bufferedAmount <= HIGH_WATER) return;
    this.#drained ??= Promise.withResolvers<void>();
    return this.#drained.promise;
  }

  #settleDrained(): void {
    this.#drained?.resolve();
    this.#drained = undefined;
  }

  #lose(reason: LossReason): void {
    const { metrics, cloudcores, clock } = this.#parts;
    const socket = this.#socket!;
    const cloudcore = this.#cloudcore!;
    this.#socket = undefined;
    socket.terminate();
    this.#lostAt = clock.monotonic();
    if (this.#lostAt - this.#openedAt >= STEADY_MS) this.#attempt = 0;
    this.#reconnects++;
    this.#books.lost();
    this.#settleDrained();
    metrics.upstreamLosses.inc({ cloudcore: cloudcore.address, reason });
    if (reason === 'frozen') cloudcores.failed(cloudcore);
    this.#warn(`lost ${reason}`, { reason }, 'a connection to CloudCore is lost; the edge stays');
    if (reason === 'closed') this.#askEdge();
    else this.#later(reason === 'moved' ? undefined : cloudcore);
  }

  /**
   * CloudCore gives a node to whoever connects last: perhaps to another gateway, because the edge went there.
   * Only a gateway that still hears the edge may take the node back.
   */
  #askEdge(): void {
    this.#become('waiting');
    this.#isAsking = true;
    const edge = this.#edge;
    void edge.whenThere().then(() => edge === this.#edge && this.#edgeIsThere());
  }

  #edgeIsThere(): void {
    if (!this.#isAsking) return;
    this.#isAsking = false;
    this.#later(undefined);
  }

  #later(except: CloudCore | undefined): void {
    if (this.#end.signal.aborted) return;
    const { clock, random } = this.#parts;
    this.#become('waiting');
    const delayMs = backoffDelayMs(this.#attempt++, { ...BACKOFF, random });
    this.#retry = clock.setTimeout(() => void this.#connect(except), delayMs);
  }

  #become(state: UpstreamInfo['state']): void {
    const wasOpen = this.isOpen;
    this.#state = state;
    if (this.isOpen !== wasOpen) this.#since = this.#parts.clock.now();
  }

  #warn(key: string, fields: Record<string, unknown>, message: string): void {
    const suppressed = this.#parts.sampler.pass(`${this.#cloudcore?.address} ${key}`);
    if (suppressed === undefined) return;
    this.#parts.log.warn(
      { node: this.node, cloudcore: this.#cloudcore?.address, ...fields, suppressed },
      message,
    );
  }
}
