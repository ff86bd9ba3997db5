import { promisify } from 'node:util';
import { brotliCompress, brotliDecompress, constants } from 'node:zlib';
import { TRANSPORTS } from '../protocol/listener-names.ts';
import { isNodeName } from '../protocol/node-name.ts';
import type { Absence, CertificateFacts, KnownNode } from './known-node.ts';

const compress = promisify(brotliCompress);
const decompress = promisify(brotliDecompress);

/** Where the history stands in its Secret. */
export const HISTORY_FIELD = 'history.json.br';
/** Of the 1 MiB that Kubernetes allows a Secret; the rest is for a damaged history that is kept. */
export const MAX_HISTORY_BYTES = 880 * 1024;
/** Nothing we write is larger, unpacked; what is, was not written by us. */
const MAX_UNPACKED_BYTES = 32 * 1024 * 1024;
/** What may be configured, and more than enough. */
const MAX_SHARDS = 64;
/** 0.1 reads the first and leaves the second alone: it would drop what says where the other nodes are. */
const FORMATS = { single: 1, several: 2 } as const;
const SECOND = 1_000;
const MINUTE = 60_000;
/** 8.64e15: the last moment a Date can hold. */
const MAX_TIME_MS = 8_640_000_000_000_000;

/** What one Secret holds. Times in milliseconds since the epoch. */
export interface HistoryState {
  readonly nodes: ReadonlyMap<string, KnownNode>;
  /** Forgotten on purpose, with the moment of it: another replica may still remember them. */
  readonly forgotten: ReadonlyMap<string, number>;
  /** Run of a replica → when it last said that the sessions it had stored as open are open. */
  readonly runs: ReadonlyMap<string, number>;
  /** In the first Secret: among how many further ones the nodes are spread. 0: they are in this one. */
  readonly shards: number;
  /** Undefined while nobody had to be forgotten. */
  readonly lost?: LostNodes;
}

/** Nodes that had to be forgotten though they can still connect or renew. */
export interface LostNodes {
  /** Counted; one that came back and was forgotten again counts twice. */
  readonly nodes: number;
  readonly since: number;
  /** When the last of their certificates ends. */
  readonly until: number;
}

export const EMPTY_HISTORY: HistoryState = {
  nodes: new Map(),
  forgotten: new Map(),
  runs: new Map(),
  shards: 0,
};

/** Written by a later version of Sallyport: to be left alone. */
export class NewerFormat extends Error {
  constructor(format: number) {
    super(`it has format ${format}, which only a newer version can read`);
  }
}

/**
 * One array a kind of value, which packs far better than one object a node. Last contacts to the millisecond,
 * because they decide between replicas, certificates to the second, the rest to the minute.
 */
interface Columns {
  readonly format: number;
  readonly issuers: readonly string[];
  readonly replicas: readonly string[];
  readonly names: readonly string[];
  /** Serial, issuer, notBefore, seconds of life. */
  readonly certificates: readonly (readonly [string, number, number, number])[];
  readonly firstSeen: readonly number[];
  /** Milliseconds; -1: never. */
  readonly lastSeen: readonly number[];
  /** Numbers in {@link TRANSPORTS}; -1: unknown. */
  readonly transports: readonly number[];
  readonly replicaOf: readonly number[];
  /** Minutes: each absence's beginning and length. */
  readonly absences: readonly (readonly number[])[];
  /** Number of the node → certificate. */
  readonly issued: Readonly<Record<string, readonly [string, number, number, number]>>;
  readonly forgotten: Readonly<Record<string, number>>;
  // — since 0.2, each optional —
  readonly runs?: Readonly<Record<string, number>>;
  readonly runNames?: readonly string[];
  /** Seconds; -1: unknown. */
  readonly joinedAt?: readonly number[];
  /** Numbers in `runNames`; -1: closed. */
  readonly openIn?: readonly number[];
  readonly shards?: number;
  /** Nodes, minute since, second until. */
  readonly lost?: readonly [number, number, number];
}

/** @throws NewerFormat, and Error with what is wrong */
export async function decodeHistory(bytes: Uint8Array): Promise<HistoryState> {
  const text = await decompress(bytes, { maxOutputLength: MAX_UNPACKED_BYTES });
  const columns = JSON.parse(text.toString('utf8')) as Columns;
  if (!Number.isInteger(columns?.format)) throw new Error('it is no history of nodes');
  if (columns.format > FORMATS.several) throw new NewerFormat(columns.format);
  const nodes = new Map<string, KnownNode>();
  columns.names.forEach((name, i) => {
    if (!isNodeName(name)) throw new Error(`entry ${i} is no node`);
    nodes.set(name, readNode(columns, i));
  });
  const lost = columns.lost?.map(number);
  return {
    nodes,
    forgotten: times(columns.forgotten, MINUTE),
    runs: times(columns.runs ?? {}, 1),
    shards: Math.min(MAX_SHARDS, Math.max(0, number(columns.shards ?? 0))),
    ...(lost ? { lost: { nodes: lost[0]!, since: lost[1]! * MINUTE, until: lost[2]! * SECOND } } : {}),
  };
}

function times(stored: Readonly<Record<string, number>>, unit: number): Map<string, number> {
  return new Map(Object.entries(stored).map(([name, at]) => [name, number(at) * unit]));
}

/** When it was last heard of in any way. */
export function lastSign({ lastSeen, firstSeen, certificate, issued }: KnownNode): number {
  return lastSeen ?? Math.max(firstSeen, (issued ?? certificate).notBefore);
}

/** Brotli of JSON. */
export async function encodeHistory(state: HistoryState): Promise<Uint8Array> {
  const { nodes, forgotten, shards, lost } = state;
  const sorted = [...nodes].sort(([a], [b]) => (a < b ? -1 : 1));
  const known = sorted.map(([, one]) => one);
  const issuers = new Table();
  const replicas = new Table();
  const runs = new Table();
  const certificate = ({ serial, issuerSha256, notBefore, notAfter }: CertificateFacts) =>
    [
      serial,
      issuers.indexOf(issuerSha256),
      Math.floor(notBefore / SECOND),
      Math.floor((notAfter - notBefore) / SECOND),
    ] as const;
  const minutes = (ms: number) => Math.floor(ms / MINUTE);
  const columns: Columns = {
    format: shards > 0 || lost ? FORMATS.several : FORMATS.single,
    names: sorted.map(([name]) => name),
    certificates: known.map((one) => certificate(one.certificate)),
    firstSeen: known.map(({ firstSeen }) => minutes(firstSeen)),
    lastSeen: known.map(({ lastSeen }) => (lastSeen === undefined ? -1 : Math.floor(lastSeen))),
    transports: known.map(({ transport }) => (transport === undefined ? -1 : TRANSPORTS.indexOf(transport))),
    replicaOf: known.map(({ replica }) => (replica === undefined ? -1 : replicas.indexOf(replica))),
    absences: known.map(({ absences }) =>
      absences.flatMap(([from, to]) => [minutes(from), minutes(to - from)]),
    ),
    issued: Object.fromEntries(
      known.flatMap(({ issued }, i) => (issued ? [[i, certificate(issued)] as const] : [])),
    ),
    forgotten: Object.fromEntries([...forgotten].map(([name, at]) => [name, minutes(at)])),
    issuers: issuers.values,
    replicas: replicas.values,
    joinedAt: known.map(({ joinedAt }) => (joinedAt === undefined ? -1 : Math.ceil(joinedAt / SECOND))),
    openIn: known.map(({ openIn }) => (openIn === undefined ? -1 : runs.indexOf(openIn))),
    runNames: runs.values,
    runs: Object.fromEntries([...state.runs].map(([run, at]) => [run, Math.floor(at)])),
    ...(shards > 0 ? { shards } : {}),
    ...(lost ? { lost: [lost.nodes, minutes(lost.since), Math.ceil(lost.until / SECOND)] } : {}),
  };
  const params = { [constants.BROTLI_PARAM_QUALITY]: 5, [constants.BROTLI_PARAM_MODE]: 1 };
  return compress(Buffer.from(JSON.stringify(columns)), { params });
}

function readNode(columns: Columns, i: number): KnownNode {
  const certificate = (value: Columns['certificates'][number] | undefined): CertificateFacts => {
    const [serial, issuer, notBefore, life] = value ?? [];
    const issuerSha256 = columns.issuers[number(issuer)];
    if (typeof serial !== 'string' || !/^[0-9A-F]{1,42}$/.test(serial) || typeof issuerSha256 !== 'string')
      throw new Error(`the certificate of entry ${i} cannot be read`);
    const begin = number(notBefore) * SECOND;
    return { serial, issuerSha256, notBefore: begin, notAfter: begin + number(life) * SECOND };
  };
  const lastSeen = number(columns.lastSeen[i]);
  const transport = TRANSPORTS[number(columns.transports[i])];
  const replica = columns.replicas[number(columns.replicaOf[i])];
  const issued = columns.issued[i];
  const joinedAt = number(columns.joinedAt?.[i] ?? -1);
  const openIn = columns.runNames?.[number(columns.openIn?.[i] ?? -1)];
  const flat = columns.absences[i] ?? [];
  const absences = Array.from({ length: Math.floor(flat.length / 2) }, (_, n): Absence => {
    const from = number(flat[2 * n]) * MINUTE;
    return [from, from + number(flat[2 * n + 1]) * MINUTE];
  });
  return {
    certificate: certificate(columns.certificates[i]),
    ...(issued === undefined ? {} : { issued: certificate(issued) }),
    firstSeen: number(columns.firstSeen[i]) * MINUTE,
    ...(joinedAt < 0 ? {} : { joinedAt: joinedAt * SECOND }),
    ...(lastSeen < 0 ? {} : { lastSeen }),
    ...(transport === undefined ? {} : { transport }),
    ...(typeof replica === 'string' ? { replica } : {}),
    ...(typeof openIn === 'string' ? { openIn } : {}),
    absences,
  };
}

function number(value: unknown): number {
  // Within what a Date can hold.
  if (!Number.isInteger(value) || Math.abs(value as number) > MAX_TIME_MS)
    throw new Error('it holds a wrong number');
  return value as number;
}

class Table {
  readonly #index = new Map<string, number>();
  get values(): string[] {
    return [...this.#index.keys()];
  }
  indexOf(value: string): number {
    const index = this.#index.get(value) ?? this.#index.size;
    this.#index.set(value, index);
    return index;
  }
}
