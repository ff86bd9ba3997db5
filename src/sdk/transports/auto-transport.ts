import { isSallyportError, SallyportError } from '../../core/errors.ts';
import type { TransportMemory } from '../transport-memory.ts';
import type {
  ConnectOptions,
  EdgeCredentials,
  EdgeLink,
  EdgeTransport,
  TransportComponents,
} from './transport.ts';

export interface AutoTransportComponents extends TransportComponents {
  /** Best first; at least one. */
  readonly candidates: readonly EdgeTransport[];
  readonly memory: Pick<TransportMemory, 'has' | 'add' | 'delete'>;
}

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
 * Tries transports in order of preference and remembers which get through. One that networks often block is
 * used first only where it was seen to work; elsewhere it is tried beside a link that exists
 * ({@link findBetter}), so that nobody waits for it. Only silence and broken connections lead to the next: a
 * hub that refuses means it on every transport. A transport is blamed only when another one worked right
 * after, because when none does the hub is down, and that says nothing about the network between.
 */
export class AutoTransport implements EdgeTransport {
  readonly name = 'auto';
  readonly #components: AutoTransportComponents;
  readonly #avoidForMs: number;
  readonly #probeTimeoutMs: number;
  /** By transport: until when it is left out, milliseconds of the monotonic clock. */
  readonly #avoidUntil = new Map<EdgeTransport, number>();

  constructor(
    components: AutoTransportComponents,
    { avoidForMs = 600_000, probeTimeoutMs = 3_000 }: AutoTransportOptions = {},
  ) {
    this.#components = components;
    this.#avoidForMs = avoidForMs;
    this.#probeTimeoutMs = probeTimeoutMs;
  }

  async connect(credentials: EdgeCredentials, options: ConnectOptions): Promise<EdgeLink> {
    const order = await this.#order();
    const failed: EdgeTransport[] = [];
    let lastError: unknown;
    for (const [index, transport] of order.entries()) {
      options.signal.throwIfAborted();
      const isLast = index === order.length - 1;
      try {
        const link = await transport.connect(credentials, isLast ? options : this.#shortly(options));
        await this.#trust(transport);
        for (const other of failed) await this.#avoid(other);
        return link;
      } catch (error) {
        if (options.signal.aborted || isSallyportError(error, 'CONNECT_REFUSED')) throw error;
        this.#components.logger.debug(
          { err: error, transport: transport.name },
          'a transport does not get through',
        );
        failed.push(transport);
        lastError = error;
      }
    }
    throw (
      lastError ?? new SallyportError('CONFIG_INVALID', { problem: 'the hub has no address to connect to' })
    );
  }

  async findBetter(
    link: EdgeLink,
    credentials: EdgeCredentials,
    options: ConnectOptions,
  ): Promise<EdgeTransport | undefined> {
    const { candidates, logger } = this.#components;
    const present = candidates.findIndex(({ name }) => name === link.transport);
    const better = candidates.slice(0, present).find((one) => one.blockable && !this.#isAvoided(one));
    if (!better) return undefined;
    const tried = async <T>(attempt: Promise<T>): Promise<T> => {
      try {
        return await attempt;
      } catch (error) {
        if (!options.signal.aborted) await this.#avoid(better);
        throw error;
      }
    };
    try {
      await tried(better.blockable!.probe(credentials, this.#shortly(options)));
    } catch (error) {
      logger.debug({ err: error, transport: better.name }, 'a better transport does not get through');
      return undefined;
    }
    return {
      name: better.name,
      connect: async (...args) => {
        const fresh = await tried(better.connect(...args));
        await this.#trust(better);
        return fresh;
      },
    };
  }

  async distrust({ transport }: EdgeLink): Promise<void> {
    const used = this.#components.candidates.find(({ name }) => name === transport);
    if (used?.blockable) await this.#avoid(used);
  }

  #shortly(options: ConnectOptions): ConnectOptions {
    return { ...options, connectTimeoutMs: Math.min(options.connectTimeoutMs, this.#probeTimeoutMs) };
  }

  async #trust(transport: EdgeTransport): Promise<void> {
    this.#avoidUntil.delete(transport);
    if (transport.blockable) await this.#components.memory.add(transport.blockable.url);
  }

  async #avoid(transport: EdgeTransport): Promise<void> {
    this.#avoidUntil.set(transport, this.#components.clock.monotonic() + this.#avoidForMs);
    if (transport.blockable) await this.#components.memory.delete(transport.blockable.url);
  }

  #isAvoided(transport: EdgeTransport): boolean {
    return this.#components.clock.monotonic() < (this.#avoidUntil.get(transport) ?? 0);
  }

  /**
   * Best first: those that are expected to work, those that nobody knows of, and those that did not work
   * lately, for the case that nothing else works either.
   */
  async #order(): Promise<readonly EdgeTransport[]> {
    const { candidates, memory } = this.#components;
    const ranks = await Promise.all(
      candidates.map(async (one) => {
        if (this.#isAvoided(one)) return 2;
        return one.blockable && !(await memory.has(one.blockable.url)) ? 1 : 0;
      }),
    );
    return [0, 1, 2].flatMap((rank) => candidates.filter((_, index) => ranks[index] === rank));
  }
}
