import {
  AckPolicy,
  DeliverPolicy,
  type JetStreamManager,
  type JsMsg,
  jetstream,
  jetstreamManager,
  type StoredMsg,
} from '@nats-io/jetstream';
import type { NatsConnection as Connection } from '@nats-io/transport-node';
import type { NatsConnection } from '../../nats/nats-connection.ts';

/** How long NATS keeps a reader that went away without a word. */
const INACTIVE_NS = 30_000_000_000;
/** Messages asked for at once. */
const CHUNK = 256;

export interface Range {
  readonly stream: string;
  /** Literal subjects are looked up; wildcards make the server search. */
  readonly subject: string;
  readonly fromSeq: number;
  readonly max?: number;
  readonly headersOnly?: boolean;
}

/**
 * Reads what a stream holds, over whatever connection there is now. All methods throw BUS_UNAVAILABLE, or
 * what NATS answers.
 */
export class StreamReader {
  readonly #connection: NatsConnection;
  readonly #timeoutMs: number;
  #managers = new WeakMap<Connection, Promise<JetStreamManager>>();

  constructor(
    { connection }: { connection: NatsConnection },
    { requestTimeoutMs }: { requestTimeoutMs: number },
  ) {
    this.#connection = connection;
    this.#timeoutMs = requestTimeoutMs;
  }

  manager(): Promise<JetStreamManager> {
    const nats = this.#connection.current();
    let manager = this.#managers.get(nats);
    if (!manager) {
      // The check would make a missing JetStream fail here; whoever uses the manager hears of it anyway.
      manager = jetstreamManager(nats, { checkAPI: false, timeout: this.#timeoutMs });
      this.#managers.set(nats, manager);
    }
    return manager;
  }

  /** The first message of a literal subject from that sequence on, as the stream's leader knows it. */
  async next({ stream, subject, fromSeq }: Range): Promise<StoredMsg | undefined> {
    const manager = await this.manager();
    // Of the leader, not a direct get: a follower may lag behind what was announced already.
    const query = { seq: Math.max(1, fromSeq), next_by_subj: subject };
    return (await manager.streams.getMessage(stream, query)) ?? undefined;
  }

  /** What the stream holds now, from that sequence on. Leaves nothing behind at the server. */
  async *read({
    stream,
    subject,
    fromSeq,
    max = Number.POSITIVE_INFINITY,
    headersOnly = false,
  }: Range): AsyncGenerator<JsMsg> {
    const manager = await this.manager();
    const info = await manager.consumers.add(stream, {
      ack_policy: AckPolicy.None,
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: Math.max(1, fromSeq),
      filter_subject: subject,
      headers_only: headersOnly,
      inactive_threshold: INACTIVE_NS,
      mem_storage: true,
      num_replicas: 1,
    });
    try {
      const consumer = jetstream(this.#connection.current()).consumers.getConsumerFromInfo(info);
      for (let left = Math.min(max, info.num_pending); left > 0; ) {
        const asked = Math.min(left, CHUNK);
        let got = 0;
        for await (const message of await consumer.fetch({ max_messages: asked, expires: this.#timeoutMs })) {
          got++;
          yield message;
        }
        // Fewer came: the rest was deleted meanwhile.
        left = got < asked ? 0 : left - got;
      }
    } finally {
      manager.consumers.delete(stream, info.name).catch(() => {});
    }
  }
}
