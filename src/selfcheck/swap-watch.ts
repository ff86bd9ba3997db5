import type { CertificateBundle } from '../contracts/certificate-source.ts';
import type { RejectionReport } from '../contracts/rejections.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { describeError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import { LISTENERS } from '../protocol/listener-names.ts';
import { blamesHub } from '../protocol/rejection-reasons.ts';

export interface SwapWatchComponents {
  readonly clock: Clock;
  readonly log: Logger;
  /** @returns false when there is nothing to go back to */
  readonly returnToPrevious: (problem: string) => Promise<boolean>;
}

export interface SwapWatchOptions {
  /**
   * So many nodes have to be cut off by a new hub certificate before the previous one returns; 0: it never
   * does.
   */
  readonly nodes: number;
  /** How long after a swap, milliseconds. */
  readonly windowMs: number;
}

/** So many times the rate of before are nothing new. */
const USUAL = 2;
/** Failures that come together are looked at together, milliseconds. */
const GATHER_MS = 1_000;

interface Watched {
  readonly swappedAt: number;
  readonly trustChanged: boolean;
  /** Who was connected, and from where; only they count. */
  readonly here: ReadonlyMap<string, string>;
  /** Address → failed handshakes a millisecond, before. */
  readonly rateBefore: ReadonlyMap<string, number>;
  /** Nodes that connected with the new certificate, and addresses they came from. */
  readonly backNodes: Set<string>;
  readonly backAddresses: Set<string>;
  /** Address of a node that was here → failed handshakes. */
  readonly failures: Map<string, number>;
}

/**
 * Notices that a new hub certificate cuts off the fleet: nodes that were connected when it came are gone, and
 * from where they were, handshakes fail for reasons a hub certificate can have. Strangers cannot bring that
 * about, however many handshakes they send: nobody but an authenticated node counts, once it has lost its
 * session and none succeeds from its address (docs/decisions/automatic-return.md).
 */
export class SwapWatch {
  readonly #components: SwapWatchComponents;
  readonly #options: () => SwapWatchOptions;
  /** Node → address of its session. */
  readonly #connected = new Map<string, string>();
  /** Address → sessions from there. */
  readonly #addresses = new Map<string, number>();
  /**
   * Address of a node → failed handshakes, since when it says; what is older than twice the window is not in
   * it.
   */
  #before: { readonly since: number; readonly counts: Map<string, number> };
  #earlier: { readonly since: number; readonly counts: Map<string, number> } | undefined;
  #watched: Watched | undefined;
  #gathering: Timer | undefined;

  constructor(components: SwapWatchComponents, options: () => SwapWatchOptions) {
    this.#components = components;
    this.#options = options;
    this.#before = { since: components.clock.monotonic(), counts: new Map() };
  }

  nodeConnected(node: string, address: string): void {
    this.nodeDisconnected(node);
    this.#connected.set(node, address);
    this.#addresses.set(address, (this.#addresses.get(address) ?? 0) + 1);
    this.#watched?.backNodes.add(node);
    this.#watched?.backAddresses.add(address);
  }

  nodeDisconnected(node: string): void {
    const address = this.#connected.get(node);
    if (address === undefined) return;
    this.#connected.delete(node);
    const left = (this.#addresses.get(address) ?? 1) - 1;
    if (left > 0) this.#addresses.set(address, left);
    else this.#addresses.delete(address);
  }

  /** A bundle became current. One with the same hub certificate gives nothing to go back to. */
  swapped(next: CertificateBundle, previous: CertificateBundle): void {
    const cas = (bundle: CertificateBundle) => bundle.clientCAs.map(({ sha256 }) => sha256).join();
    const trustChanged = cas(next) !== cas(previous);
    if (next.server.sha256 === previous.server.sha256) {
      if (this.#watched && trustChanged) this.#watched = { ...this.#watched, trustChanged };
      return;
    }
    this.#watched = {
      swappedAt: this.#components.clock.monotonic(),
      trustChanged,
      here: new Map(this.#connected),
      rateBefore: this.#rates(),
      backNodes: new Set(),
      backAddresses: new Set(),
      failures: new Map([...this.#addresses.keys()].map((address) => [address, 0])),
    };
  }

  /** A connection was refused, or refused us. */
  rejected(report: RejectionReport): void {
    const { listener, reason, remoteAddress } = report;
    const { tls } = LISTENERS[listener];
    if (!blamesHub(reason, tls)) return;
    const { clock } = this.#components;
    // What is kept is bounded by the nodes that are here, or were at the swap.
    if (this.#addresses.has(remoteAddress)) this.#count(remoteAddress);
    const watched = this.#watched;
    const count = watched?.failures.get(remoteAddress);
    if (!watched || count === undefined || (tls === 'quic-library' && watched.trustChanged)) return;
    watched.failures.set(remoteAddress, count + 1);
    this.#gathering ??= clock.setTimeout(() => this.#judge(), GATHER_MS);
  }

  stop(): void {
    this.#gathering?.cancel();
    this.#watched = undefined;
  }

  #judge(): void {
    this.#gathering = undefined;
    const watched = this.#watched;
    if (!watched) return;
    const { windowMs, nodes } = this.#options();
    if (this.#components.clock.monotonic() - watched.swappedAt > windowMs) {
      this.#watched = undefined;
      return;
    }
    const cutOff = this.#countCutOff(watched);
    if (nodes > 0 && cutOff >= nodes && cutOff > watched.backNodes.size) this.#return(cutOff, watched);
  }

  /**
   * Nodes that were here, are not, and whose address fails without exception; of each address no more than it
   * had failures.
   */
  #countCutOff({ here, failures, rateBefore, backAddresses, swappedAt }: Watched): number {
    const elapsed = this.#components.clock.monotonic() - swappedAt;
    const left = new Map(
      [...failures].map(([address, count]) => [
        address,
        count - USUAL * elapsed * (rateBefore.get(address) ?? 0),
      ]),
    );
    let cutOff = 0;
    for (const [node, address] of here) {
      const count = left.get(address) ?? 0;
      if (count < 1 || this.#connected.has(node) || backAddresses.has(address)) continue;
      left.set(address, count - 1);
      cutOff++;
    }
    return cutOff;
  }

  #count(address: string): void {
    const now = this.#components.clock.monotonic();
    if (now - this.#before.since > this.#options().windowMs) {
      this.#earlier = this.#before;
      this.#before = { since: now, counts: new Map() };
    }
    this.#before.counts.set(address, (this.#before.counts.get(address) ?? 0) + 1);
  }

  /** Of each address, over the last one or two windows. */
  #rates(): Map<string, number> {
    const now = this.#components.clock.monotonic();
    const { windowMs } = this.#options();
    const recent = [this.#before, ...(this.#earlier ? [this.#earlier] : [])].filter(
      ({ since }) => now - since <= 2 * windowMs,
    );
    const span = Math.max(windowMs, ...recent.map(({ since }) => now - since));
    const rates = new Map<string, number>();
    for (const { counts } of recent)
      for (const [address, count] of counts) rates.set(address, (rates.get(address) ?? 0) + count / span);
    return rates;
  }

  #return(nodes: number, { backNodes }: Watched): void {
    this.#watched = undefined;
    const { log, returnToPrevious } = this.#components;
    const problem = `${nodes} nodes that were connected cannot connect to the new hub certificate, and ${backNodes.size} can`;
    returnToPrevious(problem).catch((error) =>
      log.error({ problem: describeError(error) }, 'the previous hub certificate could not be served again'),
    );
  }
}
