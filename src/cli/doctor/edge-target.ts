import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError } from '../../core/errors.ts';
import { parseHostPort } from '../host-port.ts';

/** What the doctor on the edge is told, and what it may find beside. */
export interface EdgeTarget {
  readonly host: string;
  readonly httpsPort: number;
  readonly websocketPort: number;
  readonly quicPort: number;
  /** SHA-256 of the CA certificate the node expects, lower-case hexadecimal; undefined when nobody says. */
  readonly caHash?: string;
  readonly credentials?: EdgeFiles;
}

export interface EdgeFiles {
  /** Where they are, for messages. */
  readonly from: string;
  /** PEM; undefined when it cannot be read, then `problem` says why. */
  readonly certificate?: string;
  readonly key?: string;
  readonly ca?: string;
  readonly problem?: string;
}

export interface EdgeTargetOptions {
  readonly fromEdge?: string;
  readonly caHash?: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly state?: string;
  readonly websocketPort?: string;
  readonly quicPort?: string;
}

const HTTPS_PORT = 10_002;

/** @returns a sentence about what is wrong with the options instead of the target */
export async function readEdgeTarget(
  options: EdgeTargetOptions,
  pair: { readonly cert?: string; readonly key?: string },
  environmentToken: string | undefined,
): Promise<EdgeTarget | string> {
  const target = parseHostPort(options.fromEdge ?? '');
  if (!target) return '--from-edge needs HOST or HOST:PORT; an IPv6 address with a port stands in [ ]';
  const host = target.host.replace(/[[\]]/g, '');
  const { port: httpsPort = HTTPS_PORT } = target;
  const ports = [options.websocketPort ?? '10000', options.quicPort ?? '10001'];
  const [websocketPort, quicPort] = ports.map(Number) as [number, number];
  if (ports.some((one) => !/^\d{1,5}$/.test(one) || Number(one) < 1 || Number(one) > 65_535))
    return 'a port is a number from 1 to 65535';
  let token: string | undefined;
  try {
    token =
      options.tokenFile === undefined
        ? (options.token ?? environmentToken)
        : await readFile(options.tokenFile, 'utf8');
  } catch (error) {
    return `--token-file cannot be read: ${describeError(error)}`;
  }
  const caHash = (options.caHash ?? token?.trim().split('.')[0])?.replaceAll(':', '').toLowerCase();
  // Never the text itself: what was given may be a token without hash.
  if (caHash !== undefined && !/^[0-9a-f]{64}$/.test(caHash))
    return 'the CA hash is not a SHA-256 in hexadecimal; it is the first part of a join token';
  const credentials = await readCredentials(options.state, pair);
  return {
    host,
    httpsPort,
    websocketPort,
    quicPort,
    ...(caHash === undefined ? {} : { caHash }),
    ...(credentials ? { credentials } : {}),
  };
}

async function readCredentials(
  state: string | undefined,
  { cert, key }: { readonly cert?: string; readonly key?: string },
): Promise<EdgeFiles | undefined> {
  if (cert !== undefined && key !== undefined) return readFiles(cert, { certificate: cert, key });
  if (state === undefined) return undefined;
  // Ours (`current` points to the newest set), else EdgeCore's folder.
  const current = join(state, 'current');
  const isOurs = await readdir(current).then(
    () => true,
    () => false,
  );
  return isOurs
    ? readFiles(state, {
        certificate: join(current, 'certificate.pem'),
        key: join(current, 'key.pem'),
        ca: join(current, 'ca.pem'),
      })
    : readFiles(state, {
        certificate: join(state, 'certs', 'server.crt'),
        key: join(state, 'certs', 'server.key'),
        ca: join(state, 'ca', 'rootCA.crt'),
      });
}

async function readFiles(from: string, files: Record<string, string>): Promise<EdgeFiles> {
  try {
    const read = Object.entries(files).map(
      async ([what, path]) => [what, await readFile(path, 'utf8')] as const,
    );
    return { from, ...Object.fromEntries(await Promise.all(read)) };
  } catch (error) {
    return { from, problem: describeError(error) };
  }
}
