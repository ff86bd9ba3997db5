import { DeliverPolicy, type JsMsg, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, headers, type NatsConnection } from '@nats-io/transport-node';
import { Subjects } from '../../src/bus/nats/subjects.ts';
import type { AdminClient } from '../../src/cli/admin/admin-client.ts';
import { createMessage } from '../../src/protocol/message.ts';

export interface CloudProgramOptions {
  readonly servers: readonly string[];
  readonly prefix: string;
  /** Admin interface of a replica by chance; undefined while none is alive. */
  readonly admin: () => AdminClient | undefined;
}

/**
 * The cloud's end: sends numbered messages half over HTTP at any replica, half as a plain NATS client, and
 * counts every numbered message that edges sent. It follows docs/protocol.md and knows nothing else of the
 * hub.
 */
export class CloudProgram implements AsyncDisposable {
  /** `node/n` of what was taken: 202 over HTTP, JetStream's acknowledgement over NATS. */
  readonly acknowledged = new Set<string>();
  /** `node/n` → how often it was seen by a subscriber of the stream. */
  readonly seen = new Map<string, number>();
  /** Calls over HTTP that failed and were made again under the same id. */
  repeated = 0;
  readonly #nats: NatsConnection;
  readonly #subjects: Subjects;
  readonly #options: CloudProgramOptions;
  readonly #stop = new AbortController();
  #followed: Promise<void> = Promise.resolve();
  #stopReading: () => void = () => {};

  private constructor(nats: NatsConnection, options: CloudProgramOptions) {
    this.#nats = nats;
    this.#options = options;
    this.#subjects = new Subjects(options.prefix);
    this.#followed = this.#follow();
    void this.#watchConnection();
  }

  static async start(options: CloudProgramOptions): Promise<CloudProgram> {
    const nats = await connect({
      servers: [...options.servers],
      maxReconnectAttempts: -1,
      reconnectTimeWait: 200,
      waitOnFirstConnect: true,
      noAsyncTraces: true,
    });
    return new CloudProgram(nats, options);
  }

  /** Resolves when it was taken. */
  async send(node: string, n: number): Promise<void> {
    await (n % 2 === 0 ? this.#overHttp(node, n) : this.#overNats(node, n));
    this.acknowledged.add(`${node}/${n}`);
  }

  /** Under one id, until a replica has it. */
  async #overHttp(node: string, n: number): Promise<void> {
    const id = crypto.randomUUID();
    const body = { id, resource: `default/chaos/${n}`, operation: 'update', content: { n }, wait: 'queued' };
    for (;;) {
      const admin = this.#options.admin();
      if (admin) {
        try {
          await admin.post(`/api/v1/nodes/${node}/messages`, body, { timeoutMs: 20_000 });
          return;
        } catch {
          this.repeated++;
        }
      }
      await wait(200);
    }
  }

  /** Under one id, until JetStream has it. */
  async #overNats(node: string, n: number): Promise<void> {
    const route = {
      source: 'edgecontroller',
      group: 'resource',
      operation: 'update',
      resource: `default/chaos/${n}`,
    };
    const message = createMessage(route, { n }, { now: Date.now() });
    const sent = headers();
    sent.set('Sallyport-Acknowledged', 'true');
    const options = { msgID: `${node}:${message.header.msg_id}`, timeout: 5_000, headers: sent };
    const js = jetstream(this.#nats, { timeout: 5_000 });
    for (;;) {
      try {
        await js.publish(this.#subjects.down(node), JSON.stringify(message), options);
        return;
      } catch {
        await wait(500);
      }
    }
  }

  /**
   * Everything the stream holds, counted anew by a program that begins now: the verdict. {@link seen} is what
   * the program that followed all the time saw.
   */
  async audit(): Promise<ReadonlyMap<string, number>> {
    const counted = new Map<string, number>();
    const { stream, last } = await this.#lastSeq();
    for (let next = 1; next <= last; ) {
      const consumer = await jetstream(this.#nats).consumers.get(stream, {
        deliver_policy: DeliverPolicy.StartSequence,
        opt_start_seq: next,
      });
      for await (const message of await consumer.fetch({ max_messages: 1_000, expires: 3_000 })) {
        if (message.seq < next) continue;
        next = message.seq + 1;
        this.#count(message, counted);
      }
    }
    return counted;
  }

  async #lastSeq(): Promise<{ stream: string; last: number }> {
    const stream = this.#subjects.upStream;
    const { state } = await (await jetstreamManager(this.#nats)).streams.info(stream);
    return { stream, last: state.last_seq };
  }

  /** Reads the stream from its first message, and begins anew after each trouble where it was. */
  async #follow(): Promise<void> {
    let next = 1;
    while (!this.#stop.signal.aborted) {
      try {
        const consumer = await jetstream(this.#nats).consumers.get(this.#subjects.upStream, {
          deliver_policy: DeliverPolicy.StartSequence,
          opt_start_seq: next,
        });
        const messages = await consumer.consume();
        this.#stopReading = () => messages.stop();
        for await (const message of messages) {
          if (message.seq < next) continue;
          next = message.seq + 1;
          this.#count(message, this.seen);
        }
      } catch {
        // Asked again below.
      }
      await wait(300);
    }
  }

  #count(message: JsMsg, into: Map<string, number>): void {
    if (!message.subject.startsWith(`${this.#options.prefix}.up.`)) return;
    const { n } = (message.json<{ content: unknown }>().content ?? {}) as { n?: number };
    const node = this.#subjects.nodeOf(message.subject);
    if (n === undefined || node === undefined) return;
    const key = `${node}/${n}`;
    into.set(key, (into.get(key) ?? 0) + 1);
  }

  /** A reader of a connection that broke may wait for ever: it begins anew instead. */
  async #watchConnection(): Promise<void> {
    for await (const { type } of this.#nats.status())
      if (type === 'disconnect' || type === 'reconnect') this.#stopReading();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#stopReading();
    await this.#nats.close();
    await Promise.race([this.#followed, wait(2_000)]);
  }
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
