import { setImmediate } from 'node:timers/promises';
import type { IssuanceRecord } from '../contracts/certificate-issuer.ts';
import type { EventRecorder } from '../contracts/event-recorder.ts';
import type { ForgottenNodes, NodeForecast, NodeHistory, NodeRecord } from '../contracts/node-history.ts';
import type { RevocationDecisions } from '../contracts/revocations.ts';
import type { SecretStore } from '../contracts/secret-store.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import { farewell } from '../core/farewell.ts';
import type { Component } from '../core/lifecycle.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { NodeIdentity } from '../identity/node-identity.ts';
import type { TransportName } from '../protocol/listener-names.ts';
import { HistoryKeeper, type HistoryKeeperComponents, type HistoryKeeperOptions } from './history-keeper.ts';
import { iso, issuedTo, type KnownNode, seen, toRecord } from './known-node.ts';
import { type ForecastContext, forecastNode, verdictOf } from './renewal-forecast.ts';

export interface NodeHistoryComponents {
  readonly store: SecretStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'nodesKnown' | 'nodesAtRisk' | 'nodeHistoryForgotten'> &
    HistoryKeeperComponents['metrics'];
  readonly events?: EventRecorder;
  /** Why the node is shut out; undefined when it is not. */
  readonly isNodeRevoked?: RevocationDecisions['isNodeRevoked'];
  /** Source of jitter in [0, 1), for tests. */
  readonly random?: () => number;
}

export interface NodeHistoryOptions extends HistoryKeeperOptions {
  readonly replica: string;
  /** How often what is new is stored, and what others stored is read, milliseconds; up to a quarter more. */
  readonly syncMs: number;
}

interface Session {
  readonly peer: NodeIdentity;
  readonly transport: TransportName;
}

/** What {@link NodeHistoryService.certificateIssued} needs of the audit record of an issuance. */
export type IssuedTo = Pick<
  IssuanceRecord,
  'node' | 'how' | 'serial' | 'issuerSha256' | 'notBefore' | 'notAfter'
>;

const DAY_MS = 86_400_000;
/** Nodes of a large fleet that are judged in one turn of the event loop: about 10 ms. */
const LOOKED_AT_ONCE = 5_000;

/**
 * Remembers the fleet: what was issued to whom, who was here when, and forecasts from it who will miss a
 * renewal.
 */
export class NodeHistoryService implements NodeHistory, Component {
  readonly name = 'node-history';
  readonly #components: NodeHistoryComponents;
  readonly #options: () => NodeHistoryOptions;
  readonly #keeper: HistoryKeeper;
  readonly #connected = new Map<string, Session>();
  #atRisk: ReadonlySet<string> = new Set();
  #timer: Timer | undefined;
  #stopped = false;

  constructor(components: NodeHistoryComponents, options: () => NodeHistoryOptions) {
    this.#components = components;
    this.#options = options;
    this.#keeper = new HistoryKeeper(
      {
        ...components,
        onDamaged: (secret, problem) => this.#damaged(secret, problem),
        noteSessions: (concerns) => {
          for (const node of this.#connected.keys()) if (concerns(node)) this.#contact(node);
        },
        hasSessions: () => this.#connected.size > 0,
      },
      options,
    );
    components.log.debug({ secret: options().secret }, 'the history of nodes is kept');
  }

  /** Nobody waits for the history: a hub without it works as well. */
  async start(): Promise<void> {
    await this.recall();
    this.#plan();
  }

  async stop(signal?: AbortSignal): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await farewell(this.#components.clock, this.#keeper.leave(), signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  // — what happens here —

  /** A node has a session here from now on. */
  nodeConnected(peer: NodeIdentity, transport: TransportName): void {
    const known = this.#keeper.get(peer.nodeName);
    this.#connected.set(peer.nodeName, { peer, transport });
    const next = this.#contact(peer.nodeName);
    if (
      known?.lastSeen === undefined ||
      known.certificate.serial !== next.certificate.serial ||
      known.openIn !== this.#keeper.run ||
      next.absences.length !== known.absences.length
    )
      this.#keeper.note(peer.nodeName, next, true);
  }

  /** The session has ended. To be called before {@link nodeConnected} of one that takes over. */
  nodeDisconnected(node: string): void {
    if (!this.#connected.has(node)) return;
    const { openIn: _, ...closed } = this.#contact(node);
    this.#connected.delete(node);
    this.#keeper.note(node, closed, true);
  }

  /** The node was issued a certificate. */
  certificateIssued({ node, how, serial, issuerSha256, notBefore, notAfter }: IssuedTo): void {
    const certificate = {
      serial,
      issuerSha256,
      notBefore: Date.parse(notBefore),
      notAfter: Date.parse(notAfter),
    };
    const joined = how === 'token' || how === 'fleet-token';
    const at = this.#components.clock.now();
    this.#keeper.note(node, issuedTo(this.#keeper.get(node), { certificate, joined, at }), true);
  }

  // — what is known —

  list(): readonly NodeRecord[] {
    return this.#inOrder().map((node) => this.get(node)!);
  }

  get(node: string): NodeRecord | undefined {
    const known = this.#current(node);
    return known && toRecord(node, known, this.#connected.has(node));
  }

  forecast(): readonly NodeForecast[] {
    return this.#inOrder().map((node) => this.#forecast(node));
  }

  /** As it is kept, in no order, for those who look at all of a large fleet. */
  *known(): Iterable<readonly [node: string, known: KnownNode]> {
    for (const node of this.#keeper.nodes()) yield [node, this.#current(node)!];
  }

  forgotten(): ForgottenNodes | undefined {
    const { lost } = this.#keeper;
    // Who can neither connect nor renew any more need not be known.
    const until = (lost?.until ?? 0) + this.#options().graceDays * DAY_MS;
    if (!lost || this.#components.clock.now() >= until) return undefined;
    return { nodes: lost.nodes, since: iso(lost.since), until: iso(until) };
  }

  async forget(node: string): Promise<boolean> {
    if (this.#connected.has(node)) throw new SallyportError('NODE_STILL_CONNECTED', { node });
    const wasKnown = await this.#keeper.forget(node);
    await this.#assess();
    if (wasKnown) this.#components.log.warn({ audit: 'node-forgotten', node }, 'a node was forgotten');
    return wasKnown;
  }

  /**
   * Stores what is new when it is worth it, and takes over what others stored. Never rejects: the next turn
   * tries again.
   */
  async sync(): Promise<void> {
    await this.#keeper.turn();
    await this.#assess();
  }

  /** Takes over all that others stored, for a decision that depends on it. Never rejects. */
  async recall(): Promise<void> {
    await this.#keeper.recall();
    await this.#assess();
  }

  #plan(): void {
    if (this.#stopped) return;
    const { clock, random = Math.random } = this.#components;
    const delayMs = this.#options().syncMs * (1 + random() / 4);
    this.#timer = clock.setTimeout(() => void this.sync().then(() => this.#plan()), delayMs);
  }

  /** A node that will miss its renewal is told of once. */
  async #assess(): Promise<void> {
    const { metrics, log, events } = this.#components;
    const counts = new Map<string, number>();
    const atRisk = new Set<string>();
    let all = 0;
    for (const [node, known] of this.known()) {
      if (++all % LOOKED_AT_ONCE === 0) await setImmediate();
      const verdict = verdictOf(known, this.#contextOf(node));
      counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
      if (verdict === 'at-risk') atRisk.add(node);
    }
    for (const verdict of ['renewable', 'at-risk', 'expired'] as const)
      metrics.nodesAtRisk.set({ verdict }, counts.get(verdict) ?? 0);
    metrics.nodesKnown.set(all);
    metrics.nodeHistoryForgotten.set(this.forgotten()?.nodes ?? 0);
    for (const node of atRisk) {
      if (this.#atRisk.has(node)) continue;
      const { certificate, lastSeen, nextContactBy, renewableUntil } = this.#forecast(node);
      log.warn(
        { node, lastSeen, nextContactBy, notAfter: certificate.notAfter, renewableUntil },
        'a node will probably not be back in time to renew its certificate',
      );
      events?.record({
        reason: 'NodeAtRisk',
        type: 'Warning',
        secret: this.#options().secret,
        message: `node ${node} will probably not be back before its certificate can no longer be renewed, at ${renewableUntil}`,
      });
    }
    this.#atRisk = atRisk;
  }

  #damaged(secret: string, problem: string): void {
    const { log, events } = this.#components;
    const message = 'the history of nodes cannot be read; it is put aside and begun anew';
    log.error({ secret, problem }, message);
    events?.record({ reason: 'SecretRefused', type: 'Warning', secret, message });
  }

  #inOrder(): string[] {
    return [...this.#keeper.nodes()].sort();
  }

  /** Takes down that the node is here now. */
  #contact(node: string): KnownNode {
    const { peer, transport } = this.#connected.get(node)!;
    const { serial, issuerSha256, notBefore, notAfter } = peer.certificate;
    const next = seen(this.#keeper.get(node), {
      certificate: { serial, issuerSha256, notBefore, notAfter },
      transport,
      replica: this.#options().replica,
      openIn: this.#keeper.run,
      at: this.#components.clock.now(),
    });
    this.#keeper.note(node, next, false);
    return next;
  }

  /** As of now, for a node that is here. */
  #current(node: string): KnownNode | undefined {
    const known = this.#keeper.get(node);
    return known && this.#connected.has(node) ? { ...known, lastSeen: this.#components.clock.now() } : known;
  }

  #forecast(node: string): NodeForecast {
    return forecastNode(node, this.#current(node)!, this.#contextOf(node));
  }

  #contextOf(node: string): ForecastContext {
    return {
      now: this.#components.clock.now(),
      graceMs: this.#options().graceDays * DAY_MS,
      isConnected: this.#connected.has(node),
      isRevoked: this.#components.isNodeRevoked?.(node) !== undefined,
    };
  }
}
