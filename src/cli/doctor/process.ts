import { readFile } from 'node:fs/promises';
import { getHeapStatistics } from 'node:v8';
import { type Finding, failure, ok, skipped, warning } from './finding.ts';
import type { Patient } from './patient.ts';

const LEAST_NODE = 24;
/** Besides connections: Secrets, logs, the store's connections, QUIC's loopback sockets. */
const SPARE_FILES = 100;
/**
 * Resident memory of an idle session with its queue, bytes (bench/); half a gigabyte is for everything else.
 */
const BYTES_A_NODE = 40_000;
const BASE_BYTES = 256 * 1024 * 1024;

/** Of the process the doctor is; a gateway started the same way has the same. */
export function checkNodeVersion(): Finding[] {
  const { node } = process.versions;
  if (Number.parseInt(node, 10) >= LEAST_NODE) return [ok('node-version', `Node ${node}`)];
  return [
    failure('node-version', `Node ${node} is too old`, {
      detail: `Sallyport needs Node ${LEAST_NODE} or newer`,
      hint: 'start it with `npm start`, which brings its own, or use the image',
    }),
  ];
}

export async function checkOpenFiles(
  { config: { limits } }: Pick<Patient, 'config'>,
  limitOf: () => Promise<number | undefined> = openFileLimit,
): Promise<Finding[]> {
  const limit = await limitOf();
  if (limit === undefined) return [skipped('open-files', 'open files', 'the limit cannot be read here')];
  const wanted = limits.connections + SPARE_FILES;
  if (limit >= wanted) return [ok('open-files', `up to ${limit} open files`)];
  return [
    warning('open-files', `at most ${limit} open files, for up to ${limits.connections} connections`, {
      detail: 'each connection needs one; beyond the limit connections fail at accept',
      hint: `raise the limit of open files above ${wanted} (LimitNOFILE, ulimit -n), or lower limits.connections`,
    }),
  ];
}

export function checkHeap(
  { config: { hub } }: Pick<Patient, 'config'>,
  limitBytes = getHeapStatistics().heap_size_limit,
): Finding[] {
  const wanted = BASE_BYTES + hub.queue.bytes + hub.nodeLimit * BYTES_A_NODE;
  const mib = (bytes: number) => `${Math.round(bytes / 1024 / 1024)} MiB`;
  if (limitBytes >= wanted) return [ok('heap', `heap of up to ${mib(limitBytes)}`)];
  return [
    warning('heap', `heap of at most ${mib(limitBytes)} for ${hub.nodeLimit} nodes`, {
      detail: `with every limit used up it may need ${mib(wanted)}`,
      hint: `start it with NODE_OPTIONS=--max-old-space-size=${Math.ceil(wanted / 1024 / 1024)}, or lower hub.nodeLimit`,
    }),
  ];
}

/** Node raises the soft limit to the hard one when it starts (`man 5 proc`, limits). */
async function openFileLimit(): Promise<number | undefined> {
  const text = await readFile('/proc/self/limits', 'utf8').catch(() => '');
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(text)?.[1];
  if (soft === undefined) return undefined;
  return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft);
}
