import { DeliverPolicy, jetstream } from '@nats-io/jetstream';
import { connect, headers, type NatsConnection } from '@nats-io/transport-node';
import { Subjects } from '../../src/bus/subjects.ts';
import type { AdminClient } from '../../src/cli/admin-client.ts';
import { createMessage } from '../../src/protocol/message.ts';

export interface CloudProgramOptions {
  readonly servers: readonly string[];
  readonly prefix: string;
  /** Admin interface of a replica by chance; undefined while none is alive. */
  readonly admin: () => AdminClient | undefined;
}

/**
 * The cloud's end: sends numbered messages half over HTTP at any replica, half as a plain NATS client, and counts every numbered message that edges sent. It
 * follows docs/protocol.md and knows nothing else of the hub.
 */
export class CloudProgram implements AsyncDisposable {
  /** `node/n` of what was taken: 202 over HTTP, JetStream's acknowledgement over NATS. */
  readonly acknowledged = new Set<string>();
  /** `node/n` → how often it was seen by a subscriber of the stream. */
  readonly seen = new Map<string, number>();
  /** Sent over HTTP without an answer: may or may not have been taken, and is not sent again. */
  unknown = 0;
  readonly #nats: NatsConnection;
  readonly #subjects: Subjects;
  readonly #options: CloudProgramOptions;
  readonly #stop = new AbortController();
  #followed: Promise<void> = Promise.resolve();

  private constructor(nats: NatsConnection, options: CloudProgramOptions) {
    this.#nats = nats;
    this.#options = options;
    this.#subjects = new Subjects(options.prefix);
    this.#followed = this.#follow();
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

  /** Resolves when it was taken, or nobody can tell. */
  async send(node: string, n: number): Promise<void> {
    const taken = n % 2 === 0 ? await this.#overHttp(node, n) : await this.#overNats(node, n);
    if (taken) this.acknowledged.add(`${node}/${n}`);
    else this.unknown++;
  }

  /** Over HTTP the hub gives the id, so a program that got no answer must not ask again: it could send twice. */
  async #overHttp(node: string, n: number): Promise<boolean> {
    const body = { resource: `default/chaos/${n}`, operation: 'update', content: { n }, wait: 'queued' };
    for (;;) {
      const admin = this.#options.admin();
      if (admin) {
        try {
          await admin.post(`/api/v1/nodes/${node}/messages`, body, { timeoutMs: 20_000 });
          return true;
        } catch {
          return false;
        }
      }
      await wait(200);
    }
  }

  /** Under one id, until JetStream has it. */
  async #overNats(node: string, n: number): Promise<boolean> {
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
        return true;
      } catch {
        await wait(500);
      }
    }
  }

  /** Reads the stream from its first message, and goes on after each trouble where it was: what is in it once is seen once. */
  async #follow(): Promise<void> {
    let next = 1;
    while (!this.#stop.signal.aborted) {
      try {
        const consumer = await jetstream(this.#nats).consumers.get(this.#subjects.upStream, {
          deliver_policy: DeliverPolicy.StartSequence,
          opt_start_seq: next,
        });
        const messages = await consumer.consume();
        const end = () => messages.stop();
        this.#stop.signal.addEventListener('abort', end, { once: true });
        for await (const message of messages) {
          next = message.seq + 1;
          if (!message.subject.startsWith(`${this.#options.prefix}.up.`)) continue;
          const { n } = (message.json<{ content: unknown }>().content ?? {}) as { n?: number };
          const node = this.#subjects.nodeOf(message.subject);
          if (n !== undefined && node !== undefined) {
            const key = `${node}/${n}`;
            this.seen.set(key, (this.seen.get(key) ?? 0) + 1);
          }
        }
        this.#stop.signal.removeEventListener('abort', end);
      } catch {
        await wait(300);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#nats.close();
    await Promise.race([this.#followed, wait(2_000)]);
  }
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
