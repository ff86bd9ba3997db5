import type { Logger } from '../core/log.ts';

/** Another run of a gateway, and its last sign of life: any number that is another with each. */
export interface SeenRun {
  readonly replica: string;
  readonly at: number;
}

interface Namesake {
  readonly first: number;
  readonly lives: boolean;
}

/**
 * Other living gateways under the name of this one: nobody could tell them apart in lists, logs and the
 * audit. A gateway that has crashed stands in the lists for a while, under the name of the run that follows
 * it; so only who gives a sign of life after it was first seen counts.
 */
export class Namesakes {
  readonly #log: Logger;
  readonly #replica: string;
  /** Where it was seen → run. */
  readonly #seen = new Map<string, ReadonlyMap<string, Namesake>>();
  #any = false;

  constructor({ log }: { readonly log: Logger }, { replica }: { readonly replica: string }) {
    this.#log = log;
    this.#replica = replica;
  }

  /** @param others all other runs that are there now */
  see(where: 'store' | 'nats', others: ReadonlyMap<string, SeenRun>): void {
    const before = this.#seen.get(where);
    const same = [...others].filter(([, { replica }]) => replica === this.#replica);
    this.#seen.set(where, new Map(same.map(([run, { at }]) => [run, after(before?.get(run), at)])));
    const any = [...this.#seen.values()].some((runs) => [...runs.values()].some(({ lives }) => lives));
    if (any === this.#any) return;
    this.#any = any;
    if (any) this.#log.warn({ replica: this.#replica }, PROBLEM);
    else this.#log.info({ replica: this.#replica }, 'no other gateway has the name of this one any longer');
  }

  /** What to do about it; undefined when the name is this gateway's alone. */
  problem(): string | undefined {
    return this.#any ? PROBLEM : undefined;
  }
}

const PROBLEM = 'another running gateway has the same name as this one; give each its own in hub.replica';

function after(known: Namesake | undefined, at: number): Namesake {
  if (!known) return { first: at, lives: false };
  return { first: known.first, lives: known.lives || at !== known.first };
}
