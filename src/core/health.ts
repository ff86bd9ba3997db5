import { describeError } from './errors.ts';

export type HealthKind = 'livez' | 'readyz';

export interface HealthResult {
  readonly name: string;
  readonly ok: boolean;
  /** Why it is not ok, or a remark worth showing when it is. */
  readonly detail?: string;
  readonly toldTo: Audience;
}

/**
 * Who may read the detail of a check. What quotes an error names Secrets, paths and addresses, which is
 * nothing for strangers.
 */
export type Audience = 'everybody' | 'administrators';

/** Returns a remark, or nothing when all is well; throws (or rejects) when not. */
export type HealthCheck = () => string | undefined | Promise<string | undefined>;

/** The named checks behind `/livez` and `/readyz`, in the manner of the Kubernetes API server. */
export class HealthRegistry {
  readonly #checks = new Map<
    string,
    { kinds: readonly HealthKind[]; check: HealthCheck; toldTo: Audience }
  >();

  register(
    name: string,
    kinds: readonly HealthKind[],
    check: HealthCheck,
    toldTo: Audience = 'administrators',
  ): void {
    this.#checks.set(name, { kinds, check, toldTo });
  }

  names(kind: HealthKind): string[] {
    return [...this.#checks].filter(([, entry]) => entry.kinds.includes(kind)).map(([name]) => name);
  }

  async run(
    kind: HealthKind,
    options: { exclude?: readonly string[]; only?: string } = {},
  ): Promise<HealthResult[]> {
    const names = this.names(kind)
      .filter((name) => !options.exclude?.includes(name))
      .filter((name) => options.only === undefined || name === options.only);
    return Promise.all(names.map((name) => this.#runOne(name)));
  }

  async #runOne(name: string): Promise<HealthResult> {
    const { check, toldTo } = this.#checks.get(name)!;
    try {
      const detail = await check();
      return { name, ok: true, toldTo, ...(detail ? { detail } : {}) };
    } catch (error) {
      return { name, ok: false, toldTo, detail: describeError(error) };
    }
  }
}
