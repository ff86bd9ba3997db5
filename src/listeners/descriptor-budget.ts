import { readFileSync } from 'node:fs';

/** What one listener may take of the process's file descriptors. */
export interface DescriptorShare {
  /** @returns false, and nothing is taken, when there are not so many to spare; one by default */
  take(count?: number): boolean;
  give(count?: number): void;
}

/**
 * The file descriptors that sockets of peers may use, over all listeners. Without it a fleet could use up the
 * last one, and the Secret store, health probes and the administrator would find none (requirement N6).
 */
export class DescriptorBudget {
  readonly #limit: number;
  #used = 0;

  /** @param limit open files of the process; {@link openFilesLimit} */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** @param leaving descriptors that others than this listener are left, at least */
  share({ leaving }: { readonly leaving: number }): DescriptorShare {
    return {
      take: (count = 1) => {
        if (this.#used + count > this.#limit - leaving) return false;
        this.#used += count;
        return true;
      },
      give: (count = 1) => {
        this.#used -= count;
      },
    };
  }
}

/** Open files that the system lets this process have (`RLIMIT_NOFILE`); infinite where it does not tell. */
export function openFilesLimit(): number {
  try {
    const soft = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    return Number(soft) || Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
