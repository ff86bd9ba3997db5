import { Buffer } from 'node:buffer';
import { LineCounter, parseAllDocuments, type YAMLError } from 'yaml';
import type { Secret } from '../contracts/secret-store.ts';
import { SallyportError } from '../core/errors.ts';

/**
 * A DNS subdomain (RFC 1123), as Kubernetes wants the names of Secrets; so no name can lead out of a folder.
 */
const SECRET_NAME = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;
/** Keys in the data of a Secret, as Kubernetes' `IsConfigMapKey` allows them. */
const DATA_KEY = /^(?!\.\.)(?!\.$)[-._a-zA-Z0-9]{1,253}$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
/** The only keys that errors name: in a broken file, what reads as a key may be a value. */
const KNOWN_KEYS = new Set([
  ...['cadata', 'cakeydata', 'cloudcoredata', 'cloudcorekeydata', 'tokendata'],
  ...['tls.crt', 'tls.key', 'ca.crt'],
]);
/** Kubernetes' `MaxSecretSize`, bytes of all values together. */
export const MAX_SECRET_BYTES = 1024 * 1024;

/** What people add to a manifest and a replacement has to keep. */
export interface ManifestMetadata {
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Manifest {
  readonly secret: Secret;
  readonly metadata: ManifestMetadata;
  /** Whoever wrote it does not want it to be changed any more. */
  readonly isImmutable: boolean;
}

/** @throws SECRET_MALFORMED when `name` cannot be the name of a Secret */
export function assertSecretName(name: string): void {
  if (name.length > 253 || !SECRET_NAME.test(name))
    throw new SallyportError('SECRET_MALFORMED', {
      secret: JSON.stringify(name.slice(0, 64)),
      problem: 'its name is not a DNS subdomain',
    });
}

/**
 * Reads one Secret manifest, ours or written by hand: YAML or JSON, `data` in base64, `stringData` in plain
 * text (which wins, as in Kubernetes).
 *
 * @param expected.name the name the Secret has to have
 * @param expected.file where it came from, for the message
 * @throws SECRET_MALFORMED with the place and the kind of fault, never with what stands there: it may be a
 * key
 */
export function parseSecretManifest(
  content: Uint8Array,
  expected: { readonly name: string; readonly file: string },
): Manifest {
  const fail = (problem: string): never => {
    throw new SallyportError('SECRET_MALFORMED', {
      secret: expected.name,
      problem: `${expected.file}: ${problem}`,
      file: expected.file,
    });
  };
  const root = parseYaml(content, fail);
  if (root.apiVersion !== 'v1') fail('apiVersion is not v1');
  if (root.kind !== 'Secret') fail('kind is not Secret');
  const metadata = isRecord(root.metadata) ? root.metadata : fail('metadata is missing');
  if (metadata.name !== expected.name) fail(`metadata.name is not ${expected.name}, the name of the file`);
  if (root.type !== undefined && (typeof root.type !== 'string' || root.type === ''))
    fail('type is not a string');
  const data = new Map<string, Uint8Array>();
  for (const [key, value, place] of valuesOf(root, 'data', fail)) {
    const compact = value.replace(/[\r\n\t ]/g, '');
    if (!BASE64.test(compact)) fail(`${place} is not whole base64`);
    data.set(key, new Uint8Array(Buffer.from(compact, 'base64')));
  }
  for (const [key, value] of valuesOf(root, 'stringData', fail))
    data.set(key, new Uint8Array(Buffer.from(value, 'utf8')));
  const bytes = [...data.values()].reduce((sum, value) => sum + value.byteLength, 0);
  if (bytes > MAX_SECRET_BYTES) fail(`its values are larger than ${MAX_SECRET_BYTES} bytes together`);
  return {
    secret: {
      name: expected.name,
      type: typeof root.type === 'string' ? root.type : 'Opaque',
      data: Object.fromEntries(data),
    },
    metadata: {
      ...(typeof metadata.namespace === 'string' ? { namespace: metadata.namespace } : {}),
      ...(isRecord(metadata.labels) ? { labels: stringsIn(metadata.labels) } : {}),
      ...(isRecord(metadata.annotations) ? { annotations: stringsIn(metadata.annotations) } : {}),
    },
    isImmutable: root.immutable === true,
  };
}

/**
 * Prints a manifest for `kubectl apply`. Every value is quoted, because kubectl reads YAML 1.1, where plain
 * words such as `on` or `0x1F` are not text.
 *
 * @throws SECRET_MALFORMED when Kubernetes would not take it
 */
export function printSecretManifest(secret: Secret, metadata: ManifestMetadata = {}): string {
  assertSecretName(secret.name);
  const problem = (text: string) =>
    new SallyportError('SECRET_MALFORMED', { secret: secret.name, problem: text });
  const lines = ['apiVersion: v1', 'kind: Secret', 'metadata:', `  name: ${JSON.stringify(secret.name)}`];
  if (metadata.namespace !== undefined) lines.push(`  namespace: ${JSON.stringify(metadata.namespace)}`);
  for (const field of ['labels', 'annotations'] as const) {
    const entries = Object.entries(metadata[field] ?? {});
    if (entries.length > 0) lines.push(`  ${field}:`);
    for (const [key, value] of entries) lines.push(`    ${JSON.stringify(key)}: ${JSON.stringify(value)}`);
  }
  lines.push(`type: ${JSON.stringify(secret.type ?? 'Opaque')}`);
  const data = Object.entries(secret.data);
  lines.push(data.length > 0 ? 'data:' : 'data: {}');
  let bytes = 0;
  for (const [key, value] of data) {
    if (!DATA_KEY.test(key)) throw problem('a key in its data is not allowed by Kubernetes');
    bytes += value.byteLength;
    lines.push(`  ${printKey(key)}: "${Buffer.from(value).toString('base64')}"`);
  }
  if (bytes > MAX_SECRET_BYTES)
    throw problem(`its values are larger than ${MAX_SECRET_BYTES} bytes together`);
  return `${lines.join('\n')}\n`;
}

type Fail = (problem: string) => never;
type YamlRecord = Record<string, unknown>;

function parseYaml(content: Uint8Array, fail: Fail): YamlRecord {
  let root: unknown;
  let problem: string | undefined;
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(content);
    const lines = new LineCounter();
    // Its own messages quote the source, so only the code and the place of an error are taken.
    const documents = parseAllDocuments(text, {
      lineCounter: lines,
      prettyErrors: false,
      logLevel: 'silent',
    });
    const list = 'empty' in documents ? [] : documents.filter((document) => document.contents !== null);
    const error = list.flatMap((document) => document.errors)[0];
    if (error) problem = describeYamlError(error, lines);
    else if (list.length !== 1) problem = list.length === 0 ? 'it is empty' : 'it holds several documents';
    else root = list[0]!.toJS({ maxAliasCount: 0 });
  } catch (error) {
    problem =
      error instanceof RangeError ? 'it is nested too deeply' : 'it is not YAML in UTF-8 without aliases';
  }
  if (problem !== undefined) return fail(problem);
  return isRecord(root) ? root : fail('it is not a mapping');
}

function describeYamlError(error: YAMLError, lines: LineCounter): string {
  const { line, col } = lines.linePos(error.pos[0]);
  return `YAML error ${error.code} in line ${line}, column ${col}`;
}

function valuesOf(
  root: YamlRecord,
  field: 'data' | 'stringData',
  fail: Fail,
): [key: string, value: string, place: string][] {
  const values = root[field];
  if (values === undefined) return [];
  if (!isRecord(values)) return fail(`${field} is not a mapping`);
  return Object.entries(values).map(([key, value], index) => {
    const place = KNOWN_KEYS.has(key) ? `${field}.${key}` : `entry ${index + 1} of ${field}`;
    if (!DATA_KEY.test(key)) return fail(`the key of ${place} is not one that Kubernetes allows`);
    // Kubernetes takes null for empty; here it is far more likely a file that is half written.
    if (typeof value !== 'string') return fail(`${place} is not a string`);
    return [key, value, place];
  });
}

/**
 * Short words may mean something else to YAML 1.1 (`on`, `y`, `null`), longer keys that begin with a letter
 * do not.
 */
function printKey(key: string): string {
  return /^[A-Za-z][\w.-]{5,}$/.test(key) ? key : JSON.stringify(key);
}

function stringsIn(record: YamlRecord): Record<string, string> {
  return Object.fromEntries(
    Object.entries(record).flatMap(([key, value]) => (typeof value === 'string' ? [[key, value]] : [])),
  );
}

function isRecord(value: unknown): value is YamlRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
