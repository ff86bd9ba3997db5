import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { type Agent, request } from 'node:https';
import { checkServerIdentity, createSecureContext, type PeerCertificate } from 'node:tls';
import { describeError, SallyportError } from '../../core/errors.ts';
import { AdminError } from './admin-error.ts';

export interface AdminFilesTarget {
  /** host:port */
  readonly address: string;
  /** PEM files. */
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

export interface BearerCredentials {
  readonly bearerToken: string;
  /** PEM, of the gateway. */
  readonly ca: string;
}

export interface AdminBearerTarget {
  readonly address: string;
  /** Asked before the first request. */
  readonly credentials: () => Promise<BearerCredentials>;
  /**
   * Names of which the hub certificate has to hold one, besides the address: a forwarded port has another.
   */
  readonly hubNames: readonly string[];
}

interface Identification {
  readonly tls: {
    readonly ca: Buffer | string;
    readonly cert?: Buffer;
    readonly key?: Buffer;
    readonly checkServerIdentity?: typeof checkServerIdentity;
  };
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * Speaks to the admin listener over TLS, identified by an admin certificate or a bearer token of the cluster.
 */
export class AdminClient {
  readonly #address: string;
  readonly #identify: () => Promise<Identification>;

  /** @throws ADMIN_CREDENTIALS_MISSING when a file is not there, ADMIN_CREDENTIALS_UNUSABLE */
  constructor(target: AdminFilesTarget | AdminBearerTarget) {
    this.#address = target.address;
    if ('credentials' in target) {
      let known: Promise<Identification> | undefined;
      this.#identify = () => {
        known ??= target.credentials().then(({ bearerToken, ca }) => ({
          tls: { ca, checkServerIdentity: checkOneOf(target.hubNames) },
          headers: { authorization: `Bearer ${bearerToken}` },
        }));
        return known;
      };
      return;
    }
    const tls = {
      cert: readCredential(target.cert),
      key: readCredential(target.key),
      ca: readCredential(target.ca),
    };
    try {
      createSecureContext(tls);
    } catch (cause) {
      const path = `${target.cert} and ${target.key}`;
      throw new SallyportError('ADMIN_CREDENTIALS_UNUSABLE', { path, problem: describeError(cause) }, cause);
    }
    this.#identify = async () => ({ tls, headers: {} });
  }

  async get<T>(path: string): Promise<T> {
    return (await this.#json('GET', path)) as T;
  }

  /** Plain text, whatever the status: the answer of a probe is worth reading when it fails, too. */
  async text(path: string): Promise<{ status: number; text: string }> {
    const response = await this.request('GET', path, { signal: AbortSignal.timeout(30_000), headers: {} });
    return { status: response.statusCode ?? 500, text: await readAll(response) };
  }

  async post<T>(path: string, body: unknown = {}, options: { timeoutMs?: number } = {}): Promise<T> {
    return (await this.#json('POST', path, body, options.timeoutMs)) as T;
  }

  /**
   * Follows Server-Sent Events until the gateway ends them or the signal is aborted. `text` is the data as it
   * came. With `again`, which is awaited each time, a stream that was open is followed further after the last
   * event that came, and what was missed is an event too. @throws AdminError, ADMIN_UNREACHABLE when it never
   * was open; AdminError when it is refused later
   */
  async *events(
    path: string,
    { signal, again }: { signal?: AbortSignal; again?: () => Promise<void> } = {},
  ): AsyncGenerator<{ data: unknown; text: string }> {
    let lastId: string | undefined;
    for (let opened = false; ; ) {
      try {
        for await (const { id, data } of this.#blocks(path, signal, lastId)) {
          opened = true;
          lastId = id ?? lastId;
          if (data !== undefined) yield { data: JSON.parse(data), text: data };
        }
      } catch (error) {
        if (signal?.aborted) return;
        const isRefused = error instanceof AdminError && error.status < 500;
        if (!again || !opened || isRefused) throw error;
      }
      if (!again || signal?.aborted) return;
      await again();
    }
  }

  async *#blocks(
    path: string,
    signal: AbortSignal | undefined,
    lastId: string | undefined,
  ): AsyncGenerator<{ id: string | undefined; data: string | undefined }> {
    const response = await this.request('GET', path, {
      signal,
      headers: { accept: 'text/event-stream', ...(lastId === undefined ? {} : { 'last-event-id': lastId }) },
    });
    if (response.statusCode !== 200) throw await this.#toError(response);
    response.setEncoding('utf8');
    let buffer = '';
    for await (const chunk of response) {
      buffer += chunk;
      const blocks = buffer.split('\n\n');
      buffer = blocks.pop()!;
      for (const block of blocks) {
        const field = (name: string) => new RegExp(`^${name}: ?(.*)$`, 'm').exec(block)?.[1];
        yield { id: field('id'), data: field('data') };
      }
    }
  }

  async #json(method: string, path: string, body?: unknown, timeoutMs = 30_000): Promise<unknown> {
    // Most command lines only ask.
    const exactJson = body === undefined ? undefined : (await import('../../protocol/content.ts')).exactJson;
    const response = await this.request(method, path, {
      body: exactJson?.(body),
      signal: AbortSignal.timeout(timeoutMs),
      headers: body === undefined ? {} : { 'content-type': 'application/json' },
    });
    if ((response.statusCode ?? 500) >= 400) throw await this.#toError(response);
    const text = await readAll(response);
    return text === '' ? undefined : JSON.parse(text);
  }

  /**
   * One request as it is, with the credentials. @throws ADMIN_UNREACHABLE, BAD_REQUEST for a path that leads
   * to another host
   */
  async request(
    method: string,
    path: string,
    options: {
      readonly body?: string | Buffer | undefined;
      readonly headers: Readonly<Record<string, string>>;
      readonly signal?: AbortSignal | undefined;
      /** Keeps connections; without it each request has its own. For what may be asked twice. */
      readonly agent?: Agent;
    },
  ): Promise<IncomingMessage> {
    const base = new URL(`https://${this.#address}`);
    const url = new URL(path, base);
    // `//host` and `/\\host` are other hosts, which must not see the credentials.
    if (url.origin !== base.origin) throw new SallyportError('BAD_REQUEST', { problem: 'it is no path' });
    const { tls, headers } = await this.#identify();
    return new Promise((resolve, reject) => {
      const call = request(
        url,
        {
          method,
          ...tls,
          headers: { ...headers, ...options.headers },
          signal: options.signal,
          agent: options.agent ?? false,
        },
        resolve,
      );
      call.on('error', (cause) => {
        // The gateway ends idle connections, and one may end as it is taken again.
        if (call.reusedSocket && !options.signal?.aborted)
          return resolve(this.request(method, path, options));
        reject(
          new SallyportError(
            'ADMIN_UNREACHABLE',
            { address: this.#address, problem: describeError(cause) },
            cause,
          ),
        );
      });
      call.end(options.body);
    });
  }

  async #toError(response: IncomingMessage): Promise<Error> {
    const [status, text] = [response.statusCode ?? 500, (await readAll(response)).trim()];
    const error = errorOf(text);
    if (error) return new AdminError(status, error);
    const problem = `what answers there is not the admin API, which has port 10010 by default (${status}: ${text.slice(0, 200)})`;
    return new SallyportError('ADMIN_UNREACHABLE', { address: this.#address, problem });
  }
}

/** Undefined for an answer that the admin API does not give. */
function errorOf(text: string): { code: string; message?: string; fix?: string } | undefined {
  try {
    const { error } = JSON.parse(text);
    return typeof error?.code === 'string' ? error : undefined;
  } catch {
    return undefined;
  }
}

function checkOneOf(names: readonly string[]): typeof checkServerIdentity {
  return (host: string, certificate: PeerCertificate) => {
    const isNamed = [host, ...names].some((name) => checkServerIdentity(name, certificate) === undefined);
    return isNamed ? undefined : checkServerIdentity(host, certificate);
  };
}

async function readAll(response: IncomingMessage): Promise<string> {
  response.setEncoding('utf8');
  let text = '';
  for await (const chunk of response) text += chunk;
  return text;
}

function readCredential(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new SallyportError('ADMIN_CREDENTIALS_MISSING', { path }, cause);
  }
}
