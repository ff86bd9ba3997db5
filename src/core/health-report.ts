import type { Audience, HealthRegistry, HealthResult } from './health.ts';

/** `healthz` is Kubernetes' older name for everything at once. */
export type HealthPath = 'livez' | 'readyz' | 'healthz';

export interface HealthReport {
  readonly status: 200 | 404 | 500;
  /** Plain text. */
  readonly body: string;
}

export interface HealthQuery {
  readonly verbose?: boolean;
  /** Names of checks to leave out; unknown ones are mentioned and ignored. */
  readonly exclude?: readonly string[];
  /** One check by its name, as in `/readyz/certificates`. */
  readonly only?: string;
  /** Who reads the answer; everybody, unless it is known better. */
  readonly reader?: Audience;
}

/**
 * Answers a probe in the words of the Kubernetes API server (kubernetes `apiserver/pkg/server/healthz`):
 * `ok`, or with `verbose` or a failure one line a check; 500 when one fails. As there, strangers are told
 * which check fails, and the reason only where it is meant for them.
 */
export async function healthReport(
  registry: HealthRegistry,
  path: HealthPath,
  { verbose = false, exclude = [], only, reader = 'everybody' }: HealthQuery = {},
): Promise<HealthReport> {
  const kinds = path === 'healthz' ? (['livez', 'readyz'] as const) : ([path] as const);
  const names = new Set(kinds.flatMap((kind) => registry.names(kind)));
  if (only !== undefined && !names.has(only)) return { status: 404, body: 'there is no such check\n' };

  const results = new Map<string, HealthResult>();
  for (const kind of kinds) {
    const options = only === undefined ? { exclude } : { only };
    for (const result of await registry.run(kind, options)) results.set(result.name, result);
  }
  const ok = [...results.values()].every((result) => result.ok);
  if (ok && !verbose) return { status: 200, body: 'ok' };

  const lines = [...names]
    .filter((name) => only === undefined || name === only)
    .map((name) => describe(name, results.get(name), reader));
  const unknown = only === undefined ? exclude.filter((name) => !names.has(name)) : [];
  if (unknown.length > 0) {
    const quoted = unknown.slice(0, 10).map((name) => JSON.stringify(name.slice(0, 100)));
    lines.push(`warn: some health checks cannot be excluded: no matches for ${quoted.join(', ')}`);
  }
  lines.push(`${path} check ${ok ? 'passed' : 'failed'}`);
  return { status: ok ? 200 : 500, body: `${lines.join('\n')}\n` };
}

/** For strangers; `sallyport doctor` and the log tell administrators. */
const WITHHELD = 'reason withheld';

function describe(name: string, result: HealthResult | undefined, reader: Audience): string {
  if (result === undefined) return `[+]${name} excluded: ok`;
  // A detail may quote a foreign error of several lines; one check is one line.
  const isTold = result.toldTo === 'everybody' || reader === 'administrators';
  const detail = isTold ? result.detail?.replaceAll(/\s+/g, ' ') : result.detail && WITHHELD;
  if (!result.ok) return `[-]${name} failed: ${detail}`;
  return detail === undefined ? `[+]${name} ok` : `[+]${name} ok (${detail})`;
}

/** Reads `?verbose` and `?exclude=a&exclude=b` of a parsed query string. */
export function parseHealthQuery(query: unknown): HealthQuery {
  const { verbose, exclude } = (query ?? {}) as { verbose?: unknown; exclude?: unknown };
  const list = exclude === undefined ? [] : Array.isArray(exclude) ? exclude : [exclude];
  return {
    verbose: verbose !== undefined && verbose !== 'false' && verbose !== '0',
    exclude: list.filter((name) => typeof name === 'string'),
  };
}
