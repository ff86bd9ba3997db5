import { readFileSync } from 'node:fs';

/** What one listener may take of the process's file descriptors. */
export interface DescriptorShare {
  /** @returns false when there is none to spare */
  take(): boolean;
  give(): void;
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
      take: () => {
        if (this.#used >= this.#limit - leaving) return false;
        this.#used++;
        return true;
      },
      give: () => {
        this.#used--;
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
