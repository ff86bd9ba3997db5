import { isSallyportError, SallyportError } from '../../core/errors.ts';
import type {
  ConnectOptions,
  EdgeCredentials,
  EdgeLink,
  EdgeTransport,
  TransportComponents,
} from './transport.ts';

export interface AutoTransportOptions {
  /** How long a transport that did not get through, while another did, is left out. */
  readonly avoidForMs?: number;
  /**
   * How long a transport may try while there is another to fall back on. A blocked UDP port answers nothing
   * at all.
   */
  readonly probeTimeoutMs?: number;
}

/**
 * Tries transports in order of preference and remembers which did not get through. Only silence and broken
 * connections lead to the next: a hub that refuses means it on every transport. A transport is blamed only
 * when another one worked right after, because when none does the hub is down, and that says nothing about
 * the network between.
 */
export class AutoTransport implements EdgeTransport {
  readonly name = 'auto';
  readonly #components: TransportComponents & { readonly candidates: readonly EdgeTransport[] };
  readonly #avoidForMs: number;
  readonly #probeTimeoutMs: number;
  /** By transport: until when it is left out, milliseconds since the epoch. */
  readonly #avoidUntil = new Map<EdgeTransport, number>();

  /** @param components.candidates best first; at least one */
  constructor(
    components: TransportComponents & { readonly candidates: readonly EdgeTransport[] },
    { avoidForMs = 600_000, probeTimeoutMs = 3_000 }: AutoTransportOptions = {},
  ) {
    this.#components = components;
    this.#avoidForMs = avoidForMs;
    this.#probeTimeoutMs = probeTimeoutMs;
  }

  async connect(credentials: EdgeCredentials, options: ConnectOptions): Promise<EdgeLink> {
    const { clock, logger } = this.#components;
    const order = this.#order();
    const failed: EdgeTransport[] = [];
    let lastError: unknown;
    for (const [index, transport] of order.entries()) {
      options.signal.throwIfAborted();
      const isLast = index === order.length - 1;
      const connectTimeoutMs = isLast
        ? options.connectTimeoutMs
        : Math.min(options.connectTimeoutMs, this.#probeTimeoutMs);
      try {
        const link = await transport.connect(credentials, { ...options, connectTimeoutMs });
        this.#avoidUntil.delete(transport);
        for (const other of failed) this.#avoidUntil.set(other, clock.monotonic() + this.#avoidForMs);
        return link;
      } catch (error) {
        if (options.signal.aborted || isSallyportError(error, 'CONNECT_REFUSED')) throw error;
        logger.debug({ err: error, transport: transport.name }, 'a transport does not get through');
        failed.push(transport);
        lastError = error;
      }
    }
    throw (
      lastError ?? new SallyportError('CONFIG_INVALID', { problem: 'the hub has no address to connect to' })
    );
  }

  /** Those not avoided, best first; then the others, for the case that nothing else works either. */
  #order(): readonly EdgeTransport[] {
    const now = this.#components.clock.monotonic();
    const isAvoided = (transport: EdgeTransport) => now < (this.#avoidUntil.get(transport) ?? 0);
    const { candidates } = this.#components;
    return [
      ...candidates.filter((transport) => !isAvoided(transport)),
      ...candidates.filter((transport) => isAvoided(transport)),
    ];
  }
}
