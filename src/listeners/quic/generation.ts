import { createSecureContext } from 'node:tls';
import type { QuicServerSession } from '@currentspace/http3';
import type { CertificateBundle } from '../../contracts/certificate-source.ts';
import type { Clock } from '../../core/clock.ts';
import type { DescriptorShare } from '../descriptor-budget.ts';
import type { SteeringTarget, SteeringTargets } from './flow.ts';
import { NativeServer, type NativeServerComponents } from './native-server.ts';
import { indistinguishable } from './trust-order.ts';

export interface GenerationComponents extends NativeServerComponents {
  readonly clock: Pick<Clock, 'setTimeout'>;
  readonly descriptors?: DescriptorShare | undefined;
}

export interface GenerationOptions {
  readonly idleTimeoutMs: number;
  readonly connections: number;
  readonly connectionsPerServer: number;
  /** As of a {@link NativeServer}; of the first server only. */
  readonly preflightTimeoutMs?: number;
}

interface Wherewith {
  readonly components: GenerationComponents;
  readonly options: () => GenerationOptions;
}

/** So full is the emptiest server when the next one is started: clients do not wait for it. */
const GROW_AT = 3 / 4;
/** So empty is another server when an empty one is closed: not to be started again at once. */
const SHRINK_AT = 1 / 2;
/**
 * File descriptors of one server: its socket and two of its thread (0.9.0, counted). The first server of a
 * bundle does not ask for them, because a new certificate must be served however full the hub is.
 */
const DESCRIPTORS = 3;
/** How long after a server that did not start the next attempt is made. */
const GROW_AGAIN_MS = 1_000;

/**
 * The servers of one bundle: the library cannot change the certificate of a server. There are as many as the
 * flows need, because what a message costs grows with the connections of its server
 * (docs/decisions/quic-hot-swap.md). Made only by {@link QuicGeneration.start}.
 */
export class QuicGeneration implements SteeringTargets {
  readonly fingerprint: string;
  readonly #bundle: CertificateBundle;
  readonly #components: GenerationComponents;
  readonly #options: () => GenerationOptions;
  readonly #servers: NativeServer[];
  #growing: Promise<void> | undefined;

  private constructor(bundle: CertificateBundle, first: NativeServer, wherewith: Wherewith) {
    this.fingerprint = bundle.fingerprint;
    this.#bundle = bundle;
    this.#servers = [first];
    this.#components = wherewith.components;
    this.#options = wherewith.options;
  }

  /**
   * Builds a whole server and, where that is asked for, proves with a handshake that it serves. Rejects, with
   * nothing left behind, when it does not.
   */
  static async start(
    bundle: CertificateBundle,
    components: GenerationComponents,
    options: () => GenerationOptions,
  ): Promise<QuicGeneration> {
    for (const subject of indistinguishable(bundle))
      components.log.warn(
        { subject },
        'several trusted CAs look alike; QUIC lets in edges of the first only, unless their certificates name the key of their CA',
      );
    // Throws ERR_OSSL_X509_KEY_VALUES_MISMATCH and the like: clearer than what the library says.
    createSecureContext({ cert: bundle.server.cert, key: bundle.server.key });
    const first = await NativeServer.start(bundle, components, options());
    return new QuicGeneration(bundle, first, { components, options });
  }

  get ports(): readonly number[] {
    return this.#servers.map(({ port }) => port);
  }

  get sessionsOfServers(): readonly number[] {
    return this.#servers.map(({ sessions }) => sessions.size);
  }

  get sessions(): readonly QuicServerSession[] {
    return this.#servers.flatMap(({ sessions }) => [...sessions]);
  }

  next(): SteeringTarget {
    const emptiest = this.#servers.reduce((a, b) => (b.flows.size < a.flows.size ? b : a));
    const filled = emptiest.flows.size + 1;
    if (filled >= GROW_AT * this.#options().connectionsPerServer) this.#growing ??= this.#grow();
    return emptiest;
  }

  includes(target: SteeringTarget): boolean {
    return this.#servers.some((server) => server === target);
  }

  /**
   * Whether nobody needs it any more.
   * @param despiteLastWords also when flows still repeat that they are closed
   */
  isIdle({ despiteLastWords }: { readonly despiteLastWords: boolean }): boolean {
    return this.#servers.every(
      ({ sessions, flows }) =>
        sessions.size === 0 && [...flows].every(({ state }) => despiteLastWords && state === 'closing'),
    );
  }

  /** Closes servers that nobody is on. One that takes new flows keeps the last server, and some room. */
  shrink({ isCurrent }: { readonly isCurrent: boolean }): void {
    const room = SHRINK_AT * this.#options().connectionsPerServer;
    for (const server of [...this.#servers]) {
      const isNeeded =
        isCurrent && !this.#servers.some((other) => other !== server && other.flows.size < room);
      if (isNeeded || server.flows.size > 0 || server.sessions.size > 0) continue;
      this.#servers.splice(this.#servers.indexOf(server), 1);
      if (this.#servers.length > 0) this.#components.descriptors?.give(DESCRIPTORS);
      server
        .close()
        .catch((err) => this.#components.log.warn({ err }, 'a QUIC server did not close cleanly'));
    }
  }

  /** Ends every session at once, without words, and the servers. */
  async close(): Promise<void> {
    await this.#growing;
    const servers = this.#servers.splice(0);
    await Promise.all(servers.map((server) => server.close()));
    if (servers.length > 1) this.#components.descriptors?.give((servers.length - 1) * DESCRIPTORS);
  }

  async #grow(): Promise<void> {
    const { clock, log, descriptors } = this.#components;
    const { preflightTimeoutMs: _, ...further } = this.#options();
    let taken = false;
    try {
      if (descriptors) {
        taken = descriptors.take(DESCRIPTORS);
        if (!taken) throw new Error('there is no file descriptor to spare');
      }
      this.#servers.push(await NativeServer.start(this.#bundle, this.#components, further));
      this.#growing = undefined;
    } catch (err) {
      if (taken) descriptors?.give(DESCRIPTORS);
      log.warn({ err }, 'one more QUIC server could not be started; the others take more connections');
      clock.setTimeout(() => {
        this.#growing = undefined;
      }, GROW_AGAIN_MS);
    }
  }
}
