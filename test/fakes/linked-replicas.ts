import type { NodeOwnership, ReplicaInfo } from '../../src/contracts/node-ownership.ts';
import type { QuestionName, ReplicaCalls } from '../../src/contracts/replica-calls.ts';
import { SallyportError } from '../../src/core/errors.ts';

export interface LinkedReplica {
  readonly ownership: Pick<NodeOwnership, 'self' | 'replicas' | 'problem'>;
  readonly calls: ReplicaCalls;
}

/** Replicas whose questions reach each other, as JSON, at once. */
export class LinkedReplicas {
  /** Those that answer. */
  readonly alive: Set<string>;
  /** What was asked of anybody. */
  readonly asked: unknown[] = [];
  readonly all: readonly LinkedReplica[];
  readonly #answers = new Map<string, Parameters<ReplicaCalls['serve']>[1]>();

  constructor(...names: string[]) {
    this.alive = new Set(names);
    const infos = names.map((replica): ReplicaInfo => ({ replica, run: `run-of-${replica}` }));
    this.all = infos.map((self) => ({
      ownership: { self, replicas: () => infos, problem: () => undefined },
      calls: {
        serve: (question, answer) => void this.#answers.set(`${self.run} ${question}`, answer),
        ask: (replica, question, payload) => this.#ask(replica, question, payload),
      },
    }));
  }

  async #ask({ replica, run }: ReplicaInfo, question: QuestionName, payload: unknown): Promise<unknown[]> {
    if (!this.alive.has(replica))
      throw new SallyportError('REPLICA_UNREACHABLE', { replica, problem: 'it does not listen' });
    this.asked.push(payload);
    const answer = this.#answers.get(`${run} ${question}`)!;
    return asJson([...(await answer(asJson(payload)))]);
  }
}

const asJson = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;
