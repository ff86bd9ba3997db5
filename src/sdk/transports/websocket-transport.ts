import type { IncomingMessage } from 'node:http';
import { WebSocket } from 'ws';
import { describeError, SallyportError } from '../../core/errors.ts';
import { firstLine, parseRetryAfter } from '../hub-request.ts';
import {
  type ConnectOptions,
  connectRefused,
  type EdgeCredentials,
  type EdgeLink,
  type EdgeTransport,
  type TransportComponents,
} from './transport.ts';
import { WebSocketLink } from './websocket-link.ts';

export interface WebSocketTransportOptions {
  /** `host:port` of the hub's WebSocket listener; IPv6 in brackets. */
  readonly address: string;
  /**
   * Period of the pings that find out whether the hub is still there. Default: half of CloudCore's 30 s of
   * patience.
   */
  readonly pingIntervalMs?: number;
}

/**
 * KubeEdge's own transport: `wss://<hub>/<project>/<node>/events` with one JSON message a text frame
 * (docs/protocol.md, WebSocket).
 */
export class WebSocketTransport implements EdgeTransport {
  readonly name = 'websocket';
  readonly #components: TransportComponents;
  readonly #address: string;
  readonly #pingIntervalMs: number;

  constructor(
    components: TransportComponents,
    { address, pingIntervalMs = 15_000 }: WebSocketTransportOptions,
  ) {
    this.#components = components;
    this.#address = address;
    this.#pingIntervalMs = pingIntervalMs;
  }

  async connect(credentials: EdgeCredentials, options: ConnectOptions): Promise<EdgeLink> {
    const { clock } = this.#components;
    const { projectId, connectTimeoutMs, signal } = options;
    signal.throwIfAborted();
    const url = `wss://${this.#address}/${encodeURIComponent(projectId)}/${encodeURIComponent(credentials.node)}/events`;
    const socket = openSocket(url, credentials, options);
    let timer = clock.setTimeout(() => {}, 0);
    let onAbort = () => {};
    try {
      await new Promise<void>((resolve, reject) => {
        const giveUp = (reason: unknown) => {
          reject(reason);
          socket.terminate();
        };
        timer.cancel();
        timer = clock.setTimeout(
          () => giveUp(new Error(`not connected within ${connectTimeoutMs} ms`)),
          connectTimeoutMs,
        );
        onAbort = () => giveUp(signal.reason);
        signal.addEventListener('abort', onAbort, { once: true });
        socket.once('unexpected-response', (_request, answer) =>
          readRefusal(url, answer).then(giveUp, giveUp),
        );
        // Stays for good: an `error` without a listener would end the process.
        socket.on('error', reject);
        socket.once('open', () => {
          // Nothing may be read before somebody receives it; `receive` resumes.
          socket.pause();
          resolve();
        });
      });
    } catch (cause) {
      signal.throwIfAborted();
      if (cause instanceof SallyportError) throw cause;
      throw new SallyportError('CONNECT_FAILED', { url, problem: describeError(cause) }, cause);
    } finally {
      timer.cancel();
      signal.removeEventListener('abort', onAbort);
    }
    return new WebSocketLink(
      { ...this.#components, socket },
      {
        remoteAddress: this.#address,
        pingIntervalMs: this.#pingIntervalMs,
        writeTimeoutMs: options.writeTimeoutMs,
        maxMessageBytes: options.maxMessageBytes,
      },
    );
  }
}

/**
 * The certificate and the name of the hub are checked by Node, against the one CA given: `ca` replaces the
 * system's.
 */
function openSocket(url: string, credentials: EdgeCredentials, options: ConnectOptions): WebSocket {
  const { ca, certificate, key, node } = credentials;
  return new WebSocket(url, {
    ca,
    cert: certificate,
    key,
    // Go trusts what is in its pool whether self-signed or not, and so may the hub's CA be an intermediate
    // one.
    ...{ allowPartialTrustChain: true },
    minVersion: 'TLSv1.2',
    perMessageDeflate: false,
    followRedirects: false,
    maxPayload: options.maxMessageBytes,
    headers: {
      node_id: node,
      project_id: options.projectId,
      ConnectionUse: 'msg',
      'User-Agent': options.agent,
    },
  });
}

/** The hub's answer instead of an upgrade. Its first kilobyte is enough for a person. */
async function readRefusal(url: string, answer: IncomingMessage): Promise<SallyportError> {
  let text = '';
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      text += chunk.toString('utf8');
      if (text.length > 1024) break;
    }
  } catch {
    // The status line came, and says the essential.
  }
  const status = answer.statusCode ?? 0;
  const word = answer.headers['sallyport-reason'];
  const retryAfterMs = parseRetryAfter(answer.headers['retry-after']);
  return connectRefused(url, {
    word: typeof word === 'string' ? word : undefined,
    status,
    detail: firstLine(text) || `status ${status}`,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}
