import { hash } from 'node:crypto';
import type { AgentOptions, RequestOptions } from 'node:https';
import type { KubeConfig } from '@kubernetes/client-node';
import type { Dispatcher } from 'undici';
import type { Clock } from '../../core/clock.ts';
import { type Logger, LogSampler } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import { orAborted } from '../../core/or-aborted.ts';
import { createDispatcher, loadConfig } from './kube-config.ts';
import { KubeApiError } from './kube-errors.ts';

/** Largest answer that is read: a Secret of 1 MiB in base64 with its metadata, bytes. */
const MAX_ANSWER_BYTES = 8 * 1024 * 1024;
/** Time in which a call that was given up has to end, milliseconds; a socket is destroyed at once. */
const GIVEN_UP_MS = 1_000;
/** Namespace of KubeEdge's cloud side. */
const DEFAULT_NAMESPACE = 'kubeedge';

export interface KubeClientOptions {
  /** Default: in a cluster the own one, else `kubeedge`. */
  readonly namespace?: string | undefined;
  /** Context of the kubeconfig; default: its current one. */
  readonly context?: string | undefined;
  /** Longest wait for one call, milliseconds. */
  readonly requestTimeoutMs: number;
}

export interface KubeRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH';
  /** Path from the root of the API server. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly contentType?: string;
  /** Form of the answer; default: the whole object as JSON. */
  readonly accept?: string;
  readonly signal?: AbortSignal | undefined;
}

export interface KubeStreamRequest extends KubeRequest {
  /** The stream fails when nothing arrives for this long, milliseconds. */
  readonly idleTimeoutMs: number;
}

export interface KubeClientComponents {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'storeCallsAbandoned'>;
}

type LoadConfig = () => KubeConfig;

/**
 * Calls to the Kubernetes API. The client library finds the cluster and the credentials; the calls are our
 * own, because its have no time-outs, hide headers, and open a TLS connection for each. Each call is raced
 * against a timer of ours: HTTP clients have kept calls for ever that were told to end (requirement R1).
 */
export class KubeClient {
  readonly namespace: string;
  readonly server: string;
  readonly #components: KubeClientComponents;
  readonly #clock: Clock;
  readonly #sampler: LogSampler;
  readonly #requestTimeoutMs: number;
  readonly #load: LoadConfig;
  #config: KubeConfig;
  #dispatcher: { readonly fingerprint: string; readonly agent: Dispatcher } | undefined;

  private constructor(
    components: KubeClientComponents,
    options: { load: LoadConfig; namespace: string; requestTimeoutMs: number },
  ) {
    this.#components = components;
    this.#clock = components.clock;
    this.#sampler = new LogSampler(components);
    this.#requestTimeoutMs = options.requestTimeoutMs;
    this.#load = options.load;
    this.#config = options.load();
    this.namespace = options.namespace;
    this.server = this.#config.getCurrentCluster()!.server.replace(/\/+$/, '');
  }

  /**
   * @throws CONFIG_INVALID when there is neither a kubeconfig nor a service account, or the context does not
   * exist
   */
  static async load(components: KubeClientComponents, options: KubeClientOptions): Promise<KubeClient> {
    // Its import costs 0.7 s and 88 MB, which only those pay who keep their Secrets on a cluster.
    const library = await import('@kubernetes/client-node');
    const load = () => loadConfig(new library.KubeConfig(), options.context);
    const current = load();
    const own = current.getContextObject(current.currentContext);
    const inCluster = own?.name === 'inClusterContext' ? own.namespace?.trim() : undefined;
    return new KubeClient(components, {
      load,
      namespace: options.namespace ?? (inCluster || DEFAULT_NAMESPACE),
      requestTimeoutMs: options.requestTimeoutMs,
    });
  }

  /**
   * The parsed answer. Waits out a 429 as long as the time for the call allows, reads the credentials again
   * after a 401, and repeats a read once whose connection was lost.
   *
   * @throws KubeApiError, or the network's error
   */
  async call(request: KubeRequest): Promise<unknown> {
    const deadline = this.#clock.monotonic() + this.#requestTimeoutMs;
    for (let attempt = 0; ; attempt++) {
      const leftMs = deadline - this.#clock.monotonic();
      try {
        return await this.#within({ limitMs: this.#requestTimeoutMs, leftMs, ...request }, async (signal) =>
          parseJson(await readAll(await this.#send(request, signal))),
        );
      } catch (error) {
        // A pooled connection that the server has just closed: reading again does no harm, writing might be
        // done twice.
        if (attempt === 0 && request.method === 'GET' && isLostConnection(error)) continue;
        if (!(error instanceof KubeApiError) || attempt >= 3) throw error;
        if (error.status === 401 && attempt === 0) this.#config = this.#load();
        else if (error.status === 429 && error.retryAfterMs !== undefined && error.retryAfterMs < leftMs)
          await this.#clock.sleep(error.retryAfterMs, request.signal);
        else throw error;
      }
    }
  }

  /** The answer of a watch, one parsed line at a time, until the server ends it. @throws as `call` does */
  async *lines(request: KubeStreamRequest): AsyncGenerator<unknown, void, void> {
    const { idleTimeoutMs, signal } = request;
    const response = await this.#within({ limitMs: this.#requestTimeoutMs, signal }, (ended) =>
      this.#send(request, ended),
    );
    const chunks = (response.body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    try {
      const decoder = new TextDecoder();
      let rest = '';
      for (;;) {
        const { done, value } = await this.#within({ limitMs: idleTimeoutMs, signal }, (ended) => {
          ended.addEventListener('abort', () => response.body.destroy(), { once: true });
          return chunks.next();
        });
        if (done) break;
        const lines = (rest + decoder.decode(value, { stream: true })).split('\n');
        rest = lines.pop()!;
        if (rest.length > MAX_ANSWER_BYTES) throw new Error('a line of the answer is too long');
        for (const line of lines) if (line.trim() !== '') yield parseJson(line);
      }
      if (rest.trim() !== '') throw new Error('the answer is cut off');
    } finally {
      response.body.on('error', () => {}).destroy();
    }
  }

  /**
   * What the API server says the time is (header Date, RFC 9110 §6.6.1), milliseconds since the epoch;
   * undefined when it does not.
   */
  async serverTime(): Promise<number | undefined> {
    return this.#within({ limitMs: this.#requestTimeoutMs }, async (signal) => {
      const { dispatcher } = await this.#credentials();
      const { origin } = new URL(this.server);
      // Whatever the status: anonymous callers may be refused, and are told the time all the same.
      const response = await dispatcher.request({ origin, path: '/version', method: 'GET', signal });
      await response.body.dump();
      const time = Date.parse(String(response.headers.date));
      return Number.isNaN(time) ? undefined : time;
    });
  }

  /**
   * The token that calls are made with now; undefined when the user of the kubeconfig identifies itself
   * otherwise.
   */
  async bearerToken(): Promise<string | undefined> {
    const { headers } = await this.#credentials();
    return /^Bearer (.+)$/.exec(headers.Authorization ?? '')?.[1];
  }

  async close(): Promise<void> {
    await this.#dispatcher?.agent.destroy();
    this.#dispatcher = undefined;
  }

  /** Sends, and throws what is not a success. */
  async #send(request: KubeRequest, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    const { headers, dispatcher } = await this.#credentials();
    signal.throwIfAborted();
    const url = new URL(this.server);
    const query = new URLSearchParams(request.query).toString();
    const response = await dispatcher.request({
      origin: url.origin,
      path: url.pathname.replace(/\/$/, '') + request.path + (query ? `?${query}` : ''),
      method: request.method,
      headers: {
        ...headers,
        accept: request.accept ?? 'application/json',
        'user-agent': 'sallyport',
        ...(request.body === undefined ? {} : { 'content-type': request.contentType ?? 'application/json' }),
      },
      body: request.body === undefined ? null : JSON.stringify(request.body),
      signal,
      // Times are kept by the clock; the client's own would end a quiet watch.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
    if (response.statusCode < 200 || response.statusCode > 299)
      throw await answerOf(response, this.#clock.now());
    return response;
  }

  /**
   * Token and TLS options as they are on disk now; one pool of connections as long as the TLS options stay
   * the same.
   */
  async #credentials(): Promise<{ headers: Record<string, string>; dispatcher: Dispatcher }> {
    const options: RequestOptions & AgentOptions = {};
    await this.#config.applyToHTTPSOptions(options);
    const settings = this.#config.createDispatcherOptions(this.#config.getCurrentCluster(), options);
    const fingerprint = hash('sha256', JSON.stringify(settings));
    if (this.#dispatcher?.fingerprint !== fingerprint) {
      const before = this.#dispatcher?.agent;
      this.#dispatcher = { fingerprint, agent: createDispatcher(settings) };
      // Lets what is under way finish; a watch ends by its own time-out at the latest.
      before?.close().catch(() => {});
    }
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(options.headers ?? {})) headers[name] = String(value).trim();
    if (options.auth) headers.Authorization = `Basic ${Buffer.from(options.auth).toString('base64')}`;
    return { headers, dispatcher: this.#dispatcher.agent };
  }

  /**
   * Fails after `leftMs` of the limit or when `signal` is aborted, whatever the task makes of the signal it
   * is given.
   */
  async #within<T>(
    {
      limitMs,
      leftMs = limitMs,
      signal,
    }: { limitMs: number; leftMs?: number; signal?: AbortSignal | undefined },
    task: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    signal?.throwIfAborted();
    const ended = new AbortController();
    const abort = () => ended.abort(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    const timer = this.#clock.setTimeout(() => ended.abort(timeoutError(limitMs)), leftMs);
    const running = task(ended.signal);
    try {
      return await orAborted(running, ended.signal);
    } catch (error) {
      if (!ended.signal.aborted) throw error;
      this.#watchAbandoned(running);
      throw ended.signal.reason;
    } finally {
      timer.cancel();
      signal?.removeEventListener('abort', abort);
    }
  }

  /** A call that goes on although it was given up says that its pool of connections is of no use. */
  #watchAbandoned(running: Promise<unknown>): void {
    const { clock, log, metrics } = this.#components;
    const used = this.#dispatcher;
    const timer = clock.setTimeout(() => {
      metrics.storeCallsAbandoned.inc();
      const suppressed = this.#sampler.pass('abandoned');
      if (suppressed !== undefined)
        log.warn({ suppressed }, 'a call to the Kubernetes API did not end when it was given up');
      if (this.#dispatcher === used) this.#dispatcher = undefined;
      used?.agent.destroy().catch(() => {});
    }, GIVEN_UP_MS);
    running.finally(() => timer.cancel()).catch(() => {});
  }
}

function isLostConnection(error: unknown): boolean {
  return ['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'].includes((error as NodeJS.ErrnoException).code ?? '');
}

async function readAll(response: Dispatcher.ResponseData): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > MAX_ANSWER_BYTES) throw new Error('the answer is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own message quotes the text, which may be a Secret.
    throw new Error('the answer is not JSON');
  }
}

async function answerOf(response: Dispatcher.ResponseData, now: number): Promise<KubeApiError> {
  const text = await readAll(response).catch(() => '');
  let answer: { reason?: unknown; details?: { kind?: unknown } } = {};
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === 'object' && parsed !== null && (parsed as { kind?: unknown }).kind === 'Status')
      answer = parsed;
  } catch {
    // Not the API but something before it, such as a balancer with an HTML page.
  }
  const word = (value: unknown) => (typeof value === 'string' && /^[A-Za-z]{1,40}$/.test(value) ? value : '');
  return new KubeApiError({
    status: response.statusCode,
    reason: word(answer.reason),
    kind: word(answer.details?.kind),
    retryAfterMs: retryAfterMs(response.headers['retry-after'], now),
  });
}

/** RFC 9110, 10.2.3: seconds or a date. */
function retryAfterMs(header: string | string[] | undefined, now: number): number | undefined {
  const value = Array.isArray(header) ? header[0] : header;
  if (value === undefined) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isFinite(ms) ? Math.min(Math.max(0, ms), 300_000) : undefined;
}

function timeoutError(ms: number): Error {
  return new Error(`no answer within ${ms} ms`);
}
