import type { NodeOwner } from '../contracts/node-ownership.ts';

/** Nodes whose owner is remembered: those that programs speak to now. */
const REMEMBERED = 1_024;

/**
 * Who has the nodes that were asked about lately, until a change is heard. Whoever asks while the same
 * question is under way shares its answer; a change that is heard meanwhile makes the next one ask again, so
 * that an answer that was overtaken is used once and not kept.
 */
export class KnownOwners {
  readonly #ask: (node: string) => Promise<NodeOwner | undefined>;
  readonly #answers = new Map<string, Promise<NodeOwner | undefined>>();

  constructor({ ask }: { ask: (node: string) => Promise<NodeOwner | undefined> }) {
    this.#ask = ask;
  }

  /** @throws what `ask` throws */
  of(node: string): Promise<NodeOwner | undefined> {
    const known = this.#answers.get(node);
    if (known) return known;
    const answer = this.#ask(node);
    this.#answers.set(node, answer);
    if (this.#answers.size > REMEMBERED) this.#answers.delete(this.#answers.keys().next().value!);
    const forget = () => {
      if (this.#answers.get(node) === answer) this.#answers.delete(node);
    };
    // Only owners are kept: anybody may ask about any name.
    answer.then((owner) => owner ?? forget(), forget);
    return answer;
  }

  /** The node changed its owner. */
  changed(node: string): void {
    this.#answers.delete(node);
  }

  /** Changes are no longer heard. */
  clear(): void {
    this.#answers.clear();
  }
}
