import type { Unanswered } from '../contracts/node-directory.ts';
import type { NodeOwnership } from '../contracts/node-ownership.ts';
import type { QuestionName, ReplicaCalls } from '../contracts/replica-calls.ts';
import { describeError } from '../core/errors.ts';

export interface GatherParts {
  readonly ownership: Pick<NodeOwnership, 'self' | 'replicas' | 'problem'>;
  readonly calls: ReplicaCalls;
}

export interface Gathered<T> {
  readonly items: readonly T[];
  /** Replicas whose part is missing; `*` when it is not known which there are. */
  readonly unanswered: readonly Unanswered[];
}

/**
 * Asks every replica the same and puts the answers together, this one's own first. Never throws: what is
 * missing is said.
 */
export async function gather<T>(
  { ownership, calls }: GatherParts,
  question: QuestionName,
  {
    own,
    payload = {},
    signal,
  }: { readonly own: readonly T[]; readonly payload?: object; readonly signal?: AbortSignal | undefined },
): Promise<Gathered<T>> {
  const others = ownership.replicas().filter(({ run }) => run !== ownership.self.run);
  const problem = ownership.problem();
  const unanswered: Unanswered[] = problem === undefined ? [] : [{ replica: '*', problem }];
  const answers = await Promise.all(
    others.map(async (replica) => {
      try {
        return (await calls.ask(replica, question, payload, { signal })) as T[];
      } catch (error) {
        unanswered.push({ replica: replica.replica, problem: describeError(error) });
        return [];
      }
    }),
  );
  return { items: [...own, ...answers.flat()], unanswered };
}
