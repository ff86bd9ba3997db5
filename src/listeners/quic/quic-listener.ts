import type { QuicServerSession } from '@currentspace/http3';
import type { CertificateBundle } from '../../contracts/certificate-source.ts';
import type { HandshakeRequest, HandshakeResult, KnockRequest } from '../../contracts/handshake.ts';
import type { BundleTrial, ListenAddress, Listener } from '../../contracts/listener.ts';
import type { Timer } from '../../core/clock.ts';
import { listenFailed } from '../../core/listen-failed.ts';
import { type CloseReason, closeReason } from '../../protocol/close-reasons.ts';
import { refusalOfAlert } from '../../protocol/rejection-reasons.ts';
import type { EdgeListenerComponents } from '../edge-listener-components.ts';
import type { FramedOpening } from '../framed/framed-opening.ts';
import { RefusalReporter } from '../refusals.ts';
import { trialReply } from '../trial-reply.ts';
import { FlowSteering } from './flow-steering.ts';
import { type GenerationComponents, QuicGeneration } from './generation.ts';
import { loadQuicLibrary, type QuicLibrary } from './native.ts';
import type { QuicListenerOptions } from './options.ts';
import { quicHandshake } from './quic-handshake.ts';
import { knockQuic } from './quic-knock.ts';
import { beginQuicOpening } from './quic-opening.ts';

const SWEEP_MS = 1_000;
const LAST_WORDS_MS = 50;
/**
 * Beyond the hub's own keepalive, so that the hub ends silent sessions with a reason before the transport
 * drops them without one.
 */
const IDLE_SLACK_MS = 5_000;

/**
 * QUIC for edges with Sallyport's SDK: RFC 9000, TLS 1.3, client certificates. One public UDP socket steers
 * each flow to the server generation it began on, so a new bundle ends no connection
 * (docs/decisions/quic-hot-swap.md).
 */
export class QuicListener implements Listener {
  readonly name = 'quic';
  readonly #components: EdgeListenerComponents;
  readonly #options: () => QuicListenerOptions;
  readonly #steering: FlowSteering;
  readonly #refusals: RefusalReporter;
  readonly #openings = new Map<QuicServerSession, FramedOpening>();
  /** Oldest first; the last one is current. */
  readonly #generations: QuicGeneration[] = [];
  #library: QuicLibrary | undefined;
  #applying: Promise<void> = Promise.resolve();
  #sweeper: Timer | undefined;
  #stopping: Promise<void> | undefined;

  constructor(components: EdgeListenerComponents, options: () => QuicListenerOptions) {
    this.#components = { ...components, log: components.log.child({ listener: 'quic' }) };
    this.#options = options;
    this.#refusals = new RefusalReporter(this.#components, 'quic');
    const onGoogleQuic = (address: string) => this.#refusals.reportForeign('kubeedge-quic', address);
    this.#steering = new FlowSteering({ ...this.#components, onGoogleQuic }, options);
  }

  async start(): Promise<void> {
    const { host, port } = this.#options();
    try {
      this.#library = await loadQuicLibrary();
      await this.#swap(this.#components.source.current());
      await this.#steering.start(host, port);
    } catch (cause) {
      await this.#closeAll();
      throw listenFailed('quic', { host, port }, cause);
    }
    this.#sweeper = this.#components.clock.setInterval(() => this.#sweep(), SWEEP_MS);
  }

  /**
   * Builds a generation for `next` and proves that it serves, then sends new flows to it. Swaps asked for at
   * once happen in order.
   */
  applyBundle(next: CertificateBundle): Promise<void> {
    const applied = this.#applying.then(() => this.#swap(next));
    this.#applying = applied.catch(() => {});
    return applied;
  }

  get servesAs(): string {
    return this.name;
  }

  /** A generation that no flow is ever sent to. */
  async tryBundle(next: CertificateBundle, visit: (trial: BundleTrial) => Promise<void>): Promise<void> {
    const hooks = {
      onSession: (session: QuicServerSession) => {
        session.close(0, trialReply(session.getPeerCertificate()?.raw));
        return false;
      },
      onHandshakeFailed: () => {},
    };
    // `visit` is the trial; another one before it would cost as much again.
    const generation = await this.#build(next, hooks, { isTried: false });
    try {
      await visit({ host: '127.0.0.1', port: generation.ports[0]! });
    } finally {
      await generation.close();
    }
  }

  handshake(request: HandshakeRequest): Promise<HandshakeResult> {
    return this.#steering.probes.during(request, quicHandshake);
  }

  knock(request: KnockRequest): Promise<number> {
    return this.#steering.probes.during(request, knockQuic);
  }

  servedFingerprint(): string {
    return this.#generations.at(-1)?.fingerprint ?? '';
  }

  address(): ListenAddress {
    const address = this.#steering.address();
    if (!address) throw listenFailed('quic', this.#options(), new Error('it does not listen'));
    return address;
  }

  /** Client addresses with state, each with a loopback socket. */
  get flows(): number {
    return this.#steering.flows;
  }

  /** Generations that live, the current one included. */
  get generations(): number {
    return this.#generations.length;
  }

  /** Sessions that each server of each generation has, oldest generation first. */
  get sessionsOfServers(): readonly number[] {
    return this.#generations.flatMap(({ sessionsOfServers }) => sessionsOfServers);
  }

  /**
   * Where the servers of the generations listen, oldest first. Nobody but the steering has business there.
   */
  get serverPorts(): readonly number[] {
    return this.#generations.flatMap(({ ports }) => ports);
  }

  /** Connections of the hub live on until the hub or `signal` ends them; the sockets close after the last. */
  stop(reason: CloseReason, signal: AbortSignal): Promise<void> {
    this.#stopping ??= this.#stop(reason, signal);
    return this.#stopping;
  }

  async #stop(reason: CloseReason, signal: AbortSignal): Promise<void> {
    await this.#applying;
    this.#steering.targets = undefined;
    for (const opening of this.#openings.values()) opening.end(reason);
    if (!signal.aborted && this.#openings.size > 0)
      await new Promise<void>((resolve) => {
        const poll = this.#components.clock.setInterval(() => {
          if (this.#openings.size === 0) finish();
        }, 20);
        const finish = () => {
          poll.cancel();
          signal.removeEventListener('abort', finish);
          resolve();
        };
        signal.addEventListener('abort', finish);
      });
    for (const opening of this.#openings.values()) opening.connection?.close(reason);
    // Time for the last words to get from the library through the steering to the edges.
    await this.#components.clock.sleep(LAST_WORDS_MS);
    await this.#closeAll();
  }

  async #closeAll(): Promise<void> {
    this.#sweeper?.cancel();
    await Promise.all(this.#generations.splice(0).map((generation) => generation.close()));
    await this.#steering.close();
  }

  async #swap(next: CertificateBundle): Promise<void> {
    if (this.#stopping || next.fingerprint === this.servedFingerprint()) return;
    const generation = await this.#build(next, {
      onSession: (session) => this.#onSession(session),
      onHandshakeFailed: (port, code) => this.#onHandshakeFailed(port, code),
    });
    this.#generations.push(generation);
    this.#steering.targets = generation;
    // Bundles that change faster than the sweep must not push out those who sit on an old one.
    this.#retireEmpty();
    this.#drainOldest();
  }

  #build(
    bundle: CertificateBundle,
    hooks: Pick<GenerationComponents, 'onSession' | 'onHandshakeFailed'>,
    { isTried } = { isTried: true },
  ): Promise<QuicGeneration> {
    const { clock, log, descriptors } = this.#components;
    return QuicGeneration.start(
      bundle,
      { library: this.#library!, clock, log, descriptors, ...hooks },
      () => ({
        ...this.#options(),
        idleTimeoutMs: this.#options().keepaliveTimeoutMs + IDLE_SLACK_MS,
        ...(isTried ? { preflightTimeoutMs: this.#options().handshakeTimeoutMs } : {}),
      }),
    );
  }

  #onSession(session: QuicServerSession): boolean {
    const { clock, metrics } = this.#components;
    const flow = session.remoteAddress === '127.0.0.1' ? this.#steering.claim(session) : undefined;
    if (!flow) {
      session.close(closeReason('TryAgainLater').code, 'connect to the public port');
      return false;
    }
    const { remoteAddress } = flow;
    metrics.connections.inc({ transport: 'quic' });
    const opening = beginQuicOpening(
      {
        ...this.#components,
        session,
        onRefused: (refusal) => this.#refusals.report(refusal, remoteAddress),
        onLimited: (limit) => this.#refusals.limited(limit, remoteAddress),
        onDropped: (reason) => metrics.messagesDropped.inc({ direction: 'upstream', reason }),
        onAccepted: () =>
          metrics.connectSeconds.observe({ transport: 'quic' }, (clock.monotonic() - flow.startedAt) / 1000),
        onEnded: () => {
          this.#openings.delete(session);
          metrics.connections.dec({ transport: 'quic' });
          this.#steering.release(session);
        },
      },
      this.#options(),
      { remoteAddress, startedAt: flow.startedAt },
    );
    this.#openings.set(session, opening);
    return true;
  }

  #onHandshakeFailed(port: number, code: number): void {
    const reason = refusalOfAlert(code) ?? 'protocol';
    const detail = `the TLS handshake failed with QUIC error ${code}`;
    this.#refusals.report({ ok: false, reason, detail }, this.#steering.fail(port) ?? '');
  }

  #sweep(): void {
    const now = this.#components.clock.monotonic();
    for (const opening of this.#openings.values()) opening.connection?.sweep(now);
    this.#retireEmpty();
    for (const generation of this.#generations)
      generation.shrink({ isCurrent: generation === this.#generations.at(-1) });
  }

  /**
   * Where generations are many, one that only repeats its last words makes room before one that somebody sits
   * on.
   */
  #retireEmpty(): void {
    const { maxGenerations } = this.#options();
    for (const generation of this.#generations.slice(0, -1)) {
      const despiteLastWords = this.#generations.length > maxGenerations;
      if (generation.isIdle({ despiteLastWords })) this.#retire(generation);
    }
  }

  #retire(generation: QuicGeneration): void {
    this.#generations.splice(this.#generations.indexOf(generation), 1);
    this.#steering.forget(generation);
    generation
      .close()
      .catch((err) => this.#components.log.warn({ err }, 'an old QUIC generation did not close cleanly'));
  }

  /**
   * Too many bundles in the lifetime of some connections: those of the oldest are asked to come back, spread
   * over the window.
   */
  #drainOldest(): void {
    const { maxGenerations, drainMs } = this.#options();
    const excess = this.#generations.length - maxGenerations;
    for (const generation of this.#generations.slice(0, Math.max(0, excess)))
      for (const session of generation.sessions) {
        const opening = this.#openings.get(session);
        const delayMs = Math.random() * drainMs;
        this.#components.clock.setTimeout(() => {
          opening?.end(closeReason('Rebalance'));
          opening?.connection?.close(closeReason('Rebalance', Math.random() * drainMs));
        }, delayMs);
      }
  }
}
