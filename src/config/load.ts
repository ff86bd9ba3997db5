import { readFileSync } from 'node:fs';
import type { Document, LineCounter } from 'yaml';
import { describeError, SallyportError } from '../core/errors.ts';
import { lazily } from '../core/lazily.ts';
import { yaml } from '../core/yaml.ts';
import * as z from '../core/zod.ts';
import { type Config, type SectionName, sections } from './schema.ts';
import { environmentName, listSettings, SECTION_NAMES, type Setting, settingsOf } from './settings.ts';

/** Where a value comes from: `gateway.yaml:12`, `SALLYPORT_LOG_LEVEL` or `--set log.level`. */
export type Origin = string;

export interface LoadedConfig {
  readonly config: Config;
  /** Setting path → origin; a setting that has its default is not among them. */
  readonly origins: ReadonlyMap<string, Origin>;
  /** Things worth telling that are no error. */
  readonly warnings: readonly string[];
}

export interface ConfigSources {
  /** YAML file; undefined for none. */
  readonly file?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Setting path → text, from the command line. */
  readonly flags?: Readonly<Record<string, string>>;
}

/**
 * Flags over environment over file over defaults, checked and frozen.
 * @throws CONFIG_UNREADABLE, CONFIG_INVALID with every problem, its origin, and the nearest known key
 */
export function loadConfig({ file, env = {}, flags = {} }: ConfigSources = {}): LoadedConfig {
  const origins = new Map<string, Origin>();
  const source = file === undefined ? undefined : readSource(file);
  const values = (source?.values ?? {}) as Record<string, unknown>;
  const given = SECTION_NAMES.filter((name) => isGiven(name, values, env, flags));
  const settings = given.flatMap(settingsOf);

  for (const { path } of settings) {
    const line = source?.lineOf(path.split('.'));
    if (line !== undefined) origins.set(path, `${file}:${line}`);
  }
  for (const setting of settings) {
    const text = env[setting.env];
    if (text !== undefined) put(values, origins, setting, text, setting.env);
  }
  for (const [path, text] of Object.entries(flags)) {
    const setting = settings.find((candidate) => candidate.path === path);
    if (!setting)
      throw invalid(
        `--set ${path}: no such setting${suggest(
          path,
          listSettings().map((known) => known.path),
        )}`,
      );
    put(values, origins, setting, text, `--set ${path}`);
  }

  const schema = z.strictObject(Object.fromEntries(given.map((name) => [name, sections[name]])));
  const parsed = schema.safeParse(values, WITHOUT_COMPILING);
  if (!parsed.success)
    throw invalid(
      parsed.error.issues.flatMap((issue) => describeIssue(issue, file, source, origins)).join('; '),
    );
  const sectionOf = (name: SectionName) =>
    deepFreeze(given.includes(name) ? parsed.data[name] : sections[name].parse(undefined, WITHOUT_COMPILING));
  const config = lazily(
    Object.fromEntries(SECTION_NAMES.map((name) => [name, () => sectionOf(name)])) as never,
  ) as Config;
  return { config: Object.freeze(config), origins, warnings: unknownEnvironment(env, settings) };
}

/** Zod would compile a parser for each object first, which pays only where many values are parsed. */
const WITHOUT_COMPILING = { jitless: true } as const;

/** Whether anybody set something of this section, rightly or not. The others are not even built. */
function isGiven(name: SectionName, values: object, env: NodeJS.ProcessEnv, flags: object): boolean {
  const variable = environmentName([name]);
  return (
    Object.hasOwn(values, name) ||
    Object.keys(env).some((key) => `${key}_`.startsWith(`${variable}_`)) ||
    Object.keys(flags).some((path) => path.split('.')[0] === name)
  );
}

interface Source {
  readonly values: unknown;
  lineOf(path: readonly PropertyKey[]): number | undefined;
}

function readSource(file: string): Source {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SallyportError('CONFIG_UNREADABLE', { file }, cause);
  }
  const { LineCounter, parseDocument } = yaml();
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const problem = document.errors[0];
  if (problem) throw invalid(`${file}:${problem.linePos?.[0].line ?? 1}: ${problem.message.split('\n')[0]}`);
  return { values: toValues(document, file), lineOf: (path) => findLine(document, lines, path) };
}

/** An alias of nothing, and one that multiplies itself, are found only here. @throws CONFIG_INVALID */
function toValues(document: Document, file: string): unknown {
  try {
    return document.toJS() ?? {};
  } catch (cause) {
    throw invalid(`${file}: ${describeError(cause)}`);
  }
}

/** The line of the key that `path` ends in. */
function findLine(document: Document, lines: LineCounter, path: readonly PropertyKey[]): number | undefined {
  const { isMap } = yaml();
  let node: unknown = document.contents;
  let offset: number | undefined;
  for (const key of path) {
    if (!isMap(node)) return offset === undefined ? undefined : lines.linePos(offset).line;
    const pair = node.items.find((item) => String(item.key) === key);
    if (!pair) return undefined;
    offset = (pair.key as { range?: [number, number, number] }).range?.[0];
    node = pair.value;
  }
  return offset === undefined ? undefined : lines.linePos(offset).line;
}

function put(
  values: Record<string, unknown>,
  origins: Map<string, Origin>,
  setting: Setting,
  text: string,
  origin: Origin,
): void {
  const keys = setting.path.split('.');
  const last = keys.pop()!;
  let target = values;
  for (const key of keys) {
    const next = target[key];
    if (typeof next !== 'object' || next === null) target[key] = {};
    target = target[key] as Record<string, unknown>;
  }
  target[last] = readText(setting, text, origin);
  origins.set(setting.path, origin);
}

function readText(setting: Setting, text: string, origin: Origin): unknown {
  switch (setting.type) {
    case 'integer':
    case 'number':
      return text.trim() === '' ? text : Number(text);
    case 'boolean':
      return text === 'true' ? true : text === 'false' ? false : text;
    case 'array':
      return text.split(',').map((part) => part.trim());
    case 'object':
      try {
        return JSON.parse(text);
      } catch {
        throw invalid(`${origin}: it is not a JSON object`);
      }
    default:
      return text;
  }
}

function describeIssue(
  issue: z.core.$ZodIssue,
  file: string | undefined,
  source: Source | undefined,
  origins: ReadonlyMap<string, Origin>,
): string[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const path = [...issue.path, key];
      const line = source?.lineOf(path);
      const known = knownKeys(issue.path);
      return `${file ?? 'configuration'}:${line ?? 1}: unknown key ${path.join('.')}${suggest(key, known)}`;
    });
  }
  const path = issue.path.join('.');
  const fromFile = source?.lineOf(issue.path);
  // What is wrong may be an entry of a setting, or a whole section.
  const origin = origins.get(path) ?? [...origins].find(([known]) => path.startsWith(`${known}.`))?.[1];
  const place = origin ?? (fromFile === undefined ? (file ?? 'configuration') : `${file}:${fromFile}`);
  return [
    `${place}: ${path || 'the document'}: ${issue.message.charAt(0).toLowerCase()}${issue.message.slice(1)}`,
  ];
}

function knownKeys(path: readonly PropertyKey[]): string[] {
  const prefix = path.length === 0 ? '' : `${path.join('.')}.`;
  const under = listSettings().filter((setting) => setting.path.startsWith(prefix));
  return [...new Set(under.map((setting) => setting.path.slice(prefix.length).split('.')[0]!))];
}

/** `; did you mean X?` for the nearest of `known`, when one is near. */
function suggest(word: string, known: readonly string[]): string {
  const ranked = known.map((candidate) => ({
    candidate,
    distance: editDistance(word.toLowerCase(), candidate.toLowerCase()),
  }));
  const best = ranked.sort((a, b) => a.distance - b.distance)[0];
  return best && best.distance <= Math.max(2, word.length / 3) ? `; did you mean ${best.candidate}?` : '';
}

/** Levenshtein's distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length]!;
}

/** Variables of ours that are no setting: the command line's own, the demo's, and tests'. */
const OTHER_VARIABLES = new Set([
  'SALLYPORT_CONFIG',
  'SALLYPORT_ADMIN',
  'SALLYPORT_TOKEN',
  'SALLYPORT_BEARER_TOKEN',
  'SALLYPORT_BEARER_TOKEN_FILE',
  'SALLYPORT_PASSPHRASE',
  'SALLYPORT_TEST_KUBECONFIG',
]);
/** Kubernetes puts such variables into every pod beside a Service named sallyport. */
const SERVICE_LINK = /^SALLYPORT(_\w+)?_(SERVICE_(HOST|PORT\w*)|PORT|PORT_\d+_\w+)$/;

function unknownEnvironment(env: NodeJS.ProcessEnv, settings: readonly Setting[]): string[] {
  const known = new Set(settings.map((setting) => setting.env));
  const unknown = Object.keys(env).filter(
    (name) =>
      name.startsWith('SALLYPORT_') &&
      !known.has(name) &&
      !OTHER_VARIABLES.has(name) &&
      !SERVICE_LINK.test(name),
  );
  const all = unknown.length === 0 ? [] : listSettings().map((setting) => setting.env);
  return unknown.map((name) => `environment variable ${name} is no setting${suggest(name, all)}`);
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const child of Object.values(value)) deepFreeze(child);
    Object.freeze(value);
  }
  return value;
}

function invalid(problem: string): SallyportError {
  return new SallyportError('CONFIG_INVALID', { problem });
}
