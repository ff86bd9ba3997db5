import type { SallyportError } from '../../core/errors.ts';
import { encodeHello, type QuicClose } from '../../protocol/quic-control.ts';
import { FramedLink, type HubSession } from './framed-link.ts';
import {
  type ConnectOptions,
  connectRefused,
  type EdgeCredentials,
  type TransportComponents,
} from './transport.ts';

export interface FramedConnectorOptions {
  /** `host:port` of the hub's listener; IPv6 in brackets. */
  readonly address: string;
  /**
   * Period of the pings that find out whether the hub is still there. Default: half of CloudCore's 30 s of
   * patience.
   */
  readonly pingIntervalMs?: number;
}

/** The error of an attempt that failed. */
type WhyNot = (failed: { readonly cause: unknown; readonly ending: QuicClose | undefined }) => SallyportError;

/** Turns sessions of one framed transport into links, and remembers which session the next one continues. */
export class FramedConnector {
  readonly address: string;
  readonly pingIntervalMs: number;
  readonly #components: TransportComponents;
  #last: string | undefined;

  constructor(components: TransportComponents, options: FramedConnectorOptions) {
    this.#components = components;
    this.address = options.address;
    this.pingIntervalMs = options.pingIntervalMs ?? 15_000;
  }

  /** @throws what `whyNot` makes of it; the signal's reason when it was aborted */
  async connect(
    session: HubSession,
    {
      credentials,
      options,
      whyNot,
    }: { credentials: EdgeCredentials; options: ConnectOptions; whyNot: WhyNot },
  ): Promise<FramedLink> {
    const { connectTimeoutMs, writeTimeoutMs, maxMessageBytes, signal } = options;
    const link = new FramedLink(session, this.#components, {
      remoteAddress: this.address,
      pingIntervalMs: this.pingIntervalMs,
      writeTimeoutMs,
      maxMessageBytes,
    });
    const giveUp = new AbortController();
    const timer = this.#components.clock.setTimeout(
      () => giveUp.abort(new Error(`not connected within ${connectTimeoutMs} ms`)),
      connectTimeoutMs,
    );
    try {
      const hello = encodeHello({
        node_id: credentials.node,
        project_id: options.projectId,
        sdk: options.agent,
        ...(this.#last === undefined ? {} : { resume: this.#last }),
      });
      const welcome = await link.open(hello, AbortSignal.any([signal, giveUp.signal]));
      this.#last = welcome.session;
      return link;
    } catch (cause) {
      link.abandon();
      signal.throwIfAborted();
      throw whyNot({ cause, ending: link.ending });
    } finally {
      timer.cancel();
    }
  }
}

/** The error for a session that the hub closed; undefined when it did not say why. */
export function refusedByClose(
  url: string,
  ending: QuicClose | undefined,
  word = ending?.word,
): SallyportError | undefined {
  if (ending?.word === undefined && ending?.reason === undefined) return undefined;
  const { reason, detail } = ending;
  return connectRefused(url, {
    // A limit of the hub has no word of its own.
    word: word === undefined || word === 'limit' ? reason?.name : word,
    detail,
    ...(reason?.reconnectAfterMs === undefined ? {} : { retryAfterMs: reason.reconnectAfterMs }),
  });
}
