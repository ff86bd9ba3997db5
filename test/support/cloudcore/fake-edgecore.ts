import { randomUUID } from 'node:crypto';
import { WebSocket } from 'ws';
import { type Clock, systemClock, type Timer } from '../../../src/core/clock.ts';
import type { Message, MessageRoute } from '../../../src/protocol/message.ts';
import type { EdgeCoreCredentials } from '../edges/edgecore.ts';

const PROJECT_ID = 'e632aba927ea4ac2b575ec1603d56f10';
const HEARTBEAT_MS = 15_000;
/** Twice the heartbeat, whatever the close reason says. */
const RETURN_MS = 30_000;
const QUESTION_MS = 60_000;
/** Answers to patches are not acknowledged, the others are (README.md). */
const NOT_ACKNOWLEDGED = /\/(podpatch|nodepatch)\//;

export interface FakeEdgeCoreOptions {
  readonly node: string;
  readonly port: () => number;
  readonly credentials: EdgeCoreCredentials;
  readonly clock?: Clock;
  readonly returnMs?: number;
}

interface Question {
  readonly route: MessageRoute;
  readonly content: unknown;
  readonly settle: (answer: Message | undefined) => void;
  readonly timer: Timer;
  answers: number;
}

/** One EdgeCore, which returns by itself and counts what became of its questions. */
export class FakeEdgeCore {
  readonly node: string;
  readonly #options: FakeEdgeCoreOptions;
  readonly #clock: Clock;
  readonly #questions = new Map<string, Question>();
  /** Every frame that came, as text. */
  readonly frames: string[] = [];
  readonly pushed: Message[] = [];
  readonly counts = { asked: 0, answered: 0, unanswered: 0, twice: 0, cut: 0, connects: 0, closes: 0 };
  #socket: WebSocket | undefined;
  #beat: Timer | undefined;
  #stopped = false;

  constructor(options: FakeEdgeCoreOptions) {
    this.#options = options;
    this.node = options.node;
    this.#clock = options.clock ?? systemClock;
  }

  get isOpen(): boolean {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Resolves when it is connected for the first time; rejects when it was refused. */
  start(): Promise<this> {
    return new Promise((resolve, reject) => this.#connect(() => resolve(this), reject));
  }

  #connect(onOpen?: () => void, onError?: (error: Error) => void): void {
    const { port, credentials, returnMs = RETURN_MS } = this.#options;
    const { node } = this;
    const socket = new WebSocket(`wss://127.0.0.1:${port()}/${PROJECT_ID}/${node}/events`, {
      // As Go does: the leaf alone. With a store, OpenSSL would send the CA as well.
      cert: credentials.cert,
      key: credentials.key,
      ca: [],
      rejectUnauthorized: false,
      headers: {
        node_id: node,
        project_id: PROJECT_ID,
        ConnectionUse: 'msg',
        'User-Agent': 'Go-http-client/1.1',
      },
      perMessageDeflate: false,
    });
    this.#socket = socket;
    socket.on('error', (error) => onError?.(error));
    socket.on('open', () => {
      this.counts.connects++;
      this.tell({ source: 'twin', group: 'resource', operation: 'get', resource: 'membership/detail' }, '{}');
      this.#keepalive();
      this.#beat = this.#clock.setInterval(() => this.#keepalive(), HEARTBEAT_MS);
      if (this.counts.connects > 1) this.#askAgain();
      onOpen?.();
    });
    socket.on('message', (data) => this.#onFrame(String(data)));
    socket.on('close', () => {
      this.#beat?.cancel();
      this.counts.closes++;
      if (!this.#stopped) this.#clock.setTimeout(() => this.#stopped || this.#connect(), returnMs);
    });
  }

  /** Says something nobody answers. @returns its id */
  tell(route: MessageRoute, content: unknown = null, parent?: string): string {
    const id = randomUUID();
    const header = { msg_id: id, ...(parent ? { parent_msg_id: parent } : {}), timestamp: this.#clock.now() };
    this.sendText(`${JSON.stringify({ header, route, content })}\n`);
    return id;
  }

  sendText(text: string): void {
    if (this.isOpen) this.#socket!.send(text);
  }

  /** Asks as edged does, and waits up to 60 s. Undefined: there was no answer. */
  ask(operation: string, resource: string, content: unknown = null): Promise<Message | undefined> {
    return this.question({ source: 'edged', group: 'meta', operation, resource }, content);
  }

  question(route: MessageRoute, content: unknown): Promise<Message | undefined> {
    this.counts.asked++;
    return new Promise((settle) => this.#ask(route, content, settle));
  }

  #ask(route: MessageRoute, content: unknown, settle: Question['settle']): void {
    const timer = this.#clock.setTimeout(() => {
      this.counts.unanswered++;
      settle(undefined);
    }, QUESTION_MS);
    this.#questions.set(this.tell(route, content), { route, content, settle, timer, answers: 0 });
  }

  /** What was asked on a connection that is gone is asked again, under another id, as kubelet does. */
  #askAgain(): void {
    for (const [id, { route, content, settle, timer, answers }] of [...this.#questions]) {
      if (answers > 0) continue;
      timer.cancel();
      this.#questions.delete(id);
      this.counts.cut++;
      this.#ask(route, content, settle);
    }
  }

  /** A local program lists or watches over the metaserver. */
  metaserver(verb: 'list' | 'watch', kind: string): { id: string; answer: Promise<Message | undefined> } {
    const id = randomUUID();
    const content = { ID: id, Key: `/core/v1/${kind}/default/null`, Verb: verb, Nodename: this.node };
    const route = { source: 'metaserver', group: 'dynamiccontroller', operation: 'null', resource: 'null' };
    return { id, answer: this.question(route, content) };
  }

  #keepalive(): void {
    this.tell({ source: 'websocket', group: 'resource', operation: 'keepalive', resource: 'node' }, 'ping');
  }

  #onFrame(text: string): void {
    this.frames.push(text);
    const message = JSON.parse(text) as Message;
    const { header, route } = message;
    const { source = '', group = '', resource = '' } = route;
    const question = header.parent_msg_id ? this.#questions.get(header.parent_msg_id) : undefined;
    if (question) this.#answered(question, message);
    else if (!header.parent_msg_id) this.pushed.push(message);
    if (route.operation === 'applicationResponse' || NOT_ACKNOWLEDGED.test(resource)) return;
    this.tell({ source, group, operation: 'response', resource }, 'OK', header.msg_id);
  }

  #answered(question: Question, message: Message): void {
    question.timer.cancel();
    question.answers++;
    this.counts[question.answers === 1 ? 'answered' : 'twice']++;
    question.settle(message);
  }

  /** Reads nothing until told otherwise. */
  read(isReading: boolean): void {
    if (isReading) this.#socket?.resume();
    else this.#socket?.pause();
  }

  /** Bytes it has said that nobody has taken yet. */
  get unsentBytes(): number {
    return this.#socket?.bufferedAmount ?? 0;
  }

  /** Its network is gone while its connection looks open: it reads nothing and says nothing. */
  vanish(): void {
    this.#stopped = true;
    this.#beat?.cancel();
    this.read(false);
  }

  /** Loses its connection without a word, and returns as it does. */
  lose(): void {
    this.#socket?.terminate();
  }

  /** Stops as EdgeCore does: the zero message, then the end. */
  stop(): void {
    this.#stopped = true;
    this.sendText('{"header":{"msg_id":"","timestamp":0},"route":{},"content":null}\n');
    this.#socket?.close();
    this.#beat?.cancel();
    for (const { timer } of this.#questions.values()) timer.cancel();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
  }
}
