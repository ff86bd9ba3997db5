import type { ReplicaInfo } from './node-ownership.ts';

/** Questions that one replica answers for the others. */
export type QuestionName =
  | 'nodes.list'
  | 'nodes.get'
  | 'nodes.disconnect'
  | 'info'
  | 'rejections'
  | 'served'
  | 'tickets.redeem';

/** Questions and answers between replicas, as JSON. */
export interface ReplicaCalls {
  /**
   * Answers a question of other replicas from now on. The answer comes in parts. Each part is well below a
   * megabyte, so 20,000 nodes travel as well as one.
   */
  serve(
    question: QuestionName,
    answer: (payload: unknown) => Iterable<unknown> | Promise<Iterable<unknown>>,
  ): void;
  /**
   * Asks one replica and resolves with all parts of its answer.
   * @throws REPLICA_UNREACHABLE when it does not answer in full in time, BUS_UNAVAILABLE; the signal's reason
   * when it is aborted
   */
  ask(
    replica: ReplicaInfo,
    question: QuestionName,
    payload?: unknown,
    options?: AskOptions,
  ): Promise<unknown[]>;
}

export interface AskOptions {
  /** Longest silence between two parts, milliseconds. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}
