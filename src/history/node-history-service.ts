import type { IssuanceRecord } from '../contracts/certificate-issuer.ts';
import type { EventRecorder } from '../contracts/event-recorder.ts';
import type { NodeForecast, NodeHistory, NodeRecord } from '../contracts/node-history.ts';
import type { SecretStore } from '../contracts/secret-store.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { describeError, isSallyportError, SallyportError } from '../core/errors.ts';
import { farewell } from '../core/farewell.ts';
import type { Component } from '../core/lifecycle.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { NodeIdentity } from '../identity/node-identity.ts';
import type { TransportName } from '../protocol/listener-names.ts';
import { issuedTo, type KnownNode, mergeKnown, SHORTEST_ABSENCE_MS, seen, toRecord } from './known-node.ts';
import { EMPTY_HISTORY, type HistoryState, lastSign } from './node-history-codec.ts';
import { NodeHistoryState } from './node-history-state.ts';
import { forecastNode } from './renewal-forecast.ts';

export interface NodeHistoryComponents {
  readonly store: SecretStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<
    Metrics,
    'nodesKnown' | 'nodesAtRisk' | 'nodeHistoryDropped' | 'nodeHistoryUsable' | 'nodeHistoryLastWrite'
  >;
  readonly events?: EventRecorder;
  /** Why the node is shut out; undefined when it is not. */
  readonly isNodeRevoked?: (node: string) => string | undefined;
  /** Source of jitter in [0, 1), for tests. */
  readonly random?: () => number;
}

export interface NodeHistoryOptions {
  /** Name of the Secret; read once. */
  readonly secret: string;
  readonly replica: string;
  /** How often what is new is stored, and what others stored is read, milliseconds; up to a quarter more. */
  readonly syncMs: number;
  /** Days after its end in which a certificate may be renewed once. */
  readonly graceDays: number;
  /** Bytes of a full history. */
  readonly maxBytes?: number;
}

/** What {@link NodeHistoryService.certificateIssued} needs of the audit record of an issuance. */
export type IssuedTo = Pick<IssuanceRecord, 'node' | 'serial' | 'issuerSha256' | 'notBefore' | 'notAfter'>;

/**
 * That a node is still here is stored this often only; shorter than the absences that are kept, milliseconds.
 */
const REFRESH_MS = SHORTEST_ABSENCE_MS / 2;
/** Replicas that cannot reach the store for so long may bring a forgotten node back, milliseconds. */
const FORGOTTEN_MS = 7 * 86_400_000;
const DAY_MS = 86_400_000;

/**
 * Remembers the fleet: what was issued to whom, who was here when, and forecasts from it who will miss a
 * renewal.
 */
export class NodeHistoryService implements NodeHistory, Component {
  readonly name = 'node-history';
  readonly #components: NodeHistoryComponents;
  readonly #options: () => NodeHistoryOptions;
  readonly #secret: string;
  readonly #state: NodeHistoryState;
  readonly #sampler: LogSampler;
  /** As it was last read or written. */
  #stored: HistoryState = EMPTY_HISTORY;
  /** What happened here and is not stored yet. */
  readonly #news = new Map<string, KnownNode>();
  readonly #connected = new Map<string, { readonly peer: NodeIdentity; readonly transport: TransportName }>();
  /** Something in the news is worth a write before the next refresh. */
  #dirty = false;
  #refreshedAt: number;
  #atRisk: ReadonlySet<string> = new Set();
  #timer: Timer | undefined;
  #stopped = false;

  constructor(components: NodeHistoryComponents, options: () => NodeHistoryOptions) {
    const { clock, log } = components;
    const { secret, maxBytes } = options();
    this.#components = components;
    this.#options = options;
    this.#secret = secret;
    this.#sampler = new LogSampler({ clock });
    this.#refreshedAt = clock.monotonic();
    this.#state = new NodeHistoryState(
      { store: components.store, clock, onDamaged: (problem) => this.#damaged(problem) },
      { secret, ...(maxBytes === undefined ? {} : { maxBytes }) },
    );
    log.debug({ secret }, 'the history of nodes is kept');
  }

  /** Nobody waits for the history: a hub without it works as well. */
  async start(): Promise<void> {
    await this.sync();
    this.#plan();
  }

  async stop(signal?: AbortSignal): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    const { clock } = this.#components;
    this.#dirty ||= this.#connected.size > 0;
    const lastWrite = this.sync();
    await farewell(clock, lastWrite, signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  // — what happens here —

  /** A node has a session here from now on. */
  nodeConnected(peer: NodeIdentity, transport: TransportName): void {
    const known = this.#get(peer.nodeName);
    this.#connected.set(peer.nodeName, { peer, transport });
    const next = this.#contact(peer.nodeName, known);
    if (
      known?.lastSeen === undefined ||
      known.certificate.serial !== next.certificate.serial ||
      next.absences.length !== known.absences.length
    )
      this.#dirty = true;
  }

  /** The session has ended. To be called before {@link nodeConnected} of one that takes over. */
  nodeDisconnected(node: string): void {
    if (!this.#connected.has(node)) return;
    this.#contact(node, this.#get(node));
    this.#connected.delete(node);
    this.#dirty = true;
  }

  /** The node was issued a certificate. */
  certificateIssued({ node, serial, issuerSha256, notBefore, notAfter }: IssuedTo): void {
    const certificate = {
      serial,
      issuerSha256,
      notBefore: Date.parse(notBefore),
      notAfter: Date.parse(notAfter),
    };
    this.#news.set(node, issuedTo(this.#get(node), certificate, this.#components.clock.now()));
    this.#dirty = true;
  }

  // — what is known —

  list(): readonly NodeRecord[] {
    return this.#nodes().map((node) => this.get(node)!);
  }

  get(node: string): NodeRecord | undefined {
    const known = this.#current(node);
    return known && toRecord(node, known, this.#connected.has(node));
  }

  forecast(): readonly NodeForecast[] {
    const now = this.#components.clock.now();
    const graceMs = this.#options().graceDays * DAY_MS;
    return this.#nodes().map((node) =>
      forecastNode(node, this.#current(node)!, {
        now,
        graceMs,
        isConnected: this.#connected.has(node),
        isRevoked: this.#components.isNodeRevoked?.(node) !== undefined,
      }),
    );
  }

  async forget(node: string): Promise<boolean> {
    if (this.#connected.has(node)) throw new SallyportError('NODE_STILL_CONNECTED', { node });
    const known = this.#get(node) !== undefined;
    this.#news.delete(node);
    const at = this.#components.clock.now();
    let stored = false;
    const { state } = await this.#state.change((before) => {
      stored = before.nodes.has(node);
      if (!stored && !known) return before;
      const nodes = new Map(before.nodes);
      nodes.delete(node);
      return { nodes, forgotten: new Map(before.forgotten).set(node, at) };
    });
    this.#stored = state;
    this.#assess();
    if (stored || known) this.#components.log.warn({ audit: 'node-forgotten', node }, 'a node was forgotten');
    return stored || known;
  }

  /**
   * Stores what is new when it is worth it, and takes over what others stored. Never rejects: the next turn
   * tries again.
   */
  async sync(): Promise<void> {
    const { clock, metrics, log } = this.#components;
    const now = clock.now();
    if (clock.monotonic() - this.#refreshedAt >= REFRESH_MS && this.#connected.size > 0) this.#dirty = true;
    try {
      if (this.#dirty) await this.#write(now);
      else this.#stored = await this.#state.read();
      metrics.nodeHistoryUsable.set(1);
    } catch (error) {
      metrics.nodeHistoryUsable.set(0);
      const suppressed = this.#sampler.pass(isSallyportError(error) ? error.code : 'INTERNAL');
      if (suppressed !== undefined)
        log.warn(
          { secret: this.#secret, problem: describeError(error), suppressed },
          'the history of nodes cannot be stored; it is kept in memory',
        );
    }
    this.#assess();
  }

  async #write(now: number): Promise<void> {
    const { metrics, log } = this.#components;
    for (const node of this.#connected.keys()) this.#contact(node, this.#get(node));
    const news = new Map(this.#news);
    this.#dirty = false;
    try {
      const { state, dropped } = await this.#state.change((stored) => mergeNews(stored, news, now));
      this.#stored = state;
      for (const [node, known] of news) if (this.#news.get(node) === known) this.#news.delete(node);
      if (dropped.length > 0) {
        metrics.nodeHistoryDropped.inc(dropped.length);
        log.warn(
          { nodes: dropped.length },
          'the history of nodes is full: those that were not seen for longest are forgotten',
        );
      }
      this.#refreshedAt = this.#components.clock.monotonic();
      metrics.nodeHistoryLastWrite.set(now / 1000);
    } catch (error) {
      this.#dirty = true;
      throw error;
    }
  }

  #plan(): void {
    if (this.#stopped) return;
    const { clock, random = Math.random } = this.#components;
    const delayMs = this.#options().syncMs * (1 + random() / 4);
    this.#timer = clock.setTimeout(() => void this.sync().then(() => this.#plan()), delayMs);
  }

  /** A node that will miss its renewal is told of once. */
  #assess(): void {
    const { metrics, log, events } = this.#components;
    const forecasts = this.forecast();
    const counts = new Map<string, number>();
    for (const { verdict } of forecasts) counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
    for (const verdict of ['renewable', 'at-risk', 'expired'] as const)
      metrics.nodesAtRisk.set({ verdict }, counts.get(verdict) ?? 0);
    metrics.nodesKnown.set(forecasts.length);
    const atRisk = forecasts.filter(({ verdict }) => verdict === 'at-risk');
    for (const { node, certificate, lastSeen, nextContactBy, renewableUntil } of atRisk) {
      if (this.#atRisk.has(node)) continue;
      const { notAfter } = certificate;
      log.warn(
        { node, lastSeen, nextContactBy, notAfter, renewableUntil },
        'a node will probably not be back in time to renew its certificate',
      );
      events?.record({
        reason: 'NodeAtRisk',
        type: 'Warning',
        secret: this.#secret,
        message: `node ${node} will probably not be back before its certificate can no longer be renewed, at ${renewableUntil}`,
      });
    }
    this.#atRisk = new Set(atRisk.map(({ node }) => node));
  }

  #damaged(problem: string): void {
    const { log, events } = this.#components;
    log.error(
      { secret: this.#secret, problem },
      'the history of nodes cannot be read; it is put aside and begun anew',
    );
    events?.record({
      reason: 'SecretRefused',
      type: 'Warning',
      secret: this.#secret,
      message: 'the history of nodes cannot be read; it is put aside and begun anew',
    });
    // What is put aside is put aside by a write.
    this.#dirty = true;
  }

  /** Takes down that the node is here now. */
  #contact(node: string, known: KnownNode | undefined): KnownNode {
    const { peer, transport } = this.#connected.get(node)!;
    const { serial, issuerSha256, notBefore, notAfter } = peer.certificate;
    const next = seen(known, {
      certificate: { serial, issuerSha256, notBefore, notAfter },
      transport,
      replica: this.#options().replica,
      at: this.#components.clock.now(),
    });
    this.#news.set(node, next);
    return next;
  }

  #nodes(): string[] {
    return [...new Set([...this.#stored.nodes.keys(), ...this.#news.keys()])].sort();
  }

  #get(node: string): KnownNode | undefined {
    const stored = this.#stored.nodes.get(node);
    const news = this.#news.get(node);
    return stored && news ? mergeKnown(stored, news) : (news ?? stored);
  }

  /** As of now, for a node that is here. */
  #current(node: string): KnownNode | undefined {
    const known = this.#get(node);
    return known && this.#connected.has(node) ? { ...known, lastSeen: this.#components.clock.now() } : known;
  }
}

/** The very same when nothing is new. */
function mergeNews(stored: HistoryState, news: ReadonlyMap<string, KnownNode>, now: number): HistoryState {
  if (news.size === 0) return stored;
  const nodes = new Map(stored.nodes);
  const forgotten = new Map([...stored.forgotten].filter(([, at]) => now - at < FORGOTTEN_MS));
  for (const [node, known] of news) {
    const forgottenAt = forgotten.get(node);
    // To the minute, as it is stored.
    if (forgottenAt !== undefined && lastSign(known) < forgottenAt) continue;
    forgotten.delete(node);
    const before = nodes.get(node);
    nodes.set(node, before ? mergeKnown(before, known) : known);
  }
  return { nodes, forgotten };
}
