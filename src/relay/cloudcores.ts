import { createHash } from 'node:crypto';
import { backoffDelayMs } from '../core/backoff.ts';
import type { Clock } from '../core/clock.ts';

/** Failures in a row after which an address is left alone for a while. */
const FAILURES = 3;
const OPEN = { minMs: 1_000, maxMs: 15_000 };

/** One CloudCore, as far as this process knows it. */
export interface CloudCore {
  /** `host:port` of its hub. */
  readonly address: string;
  /** `host:port` of its tunnel; undefined when none is configured. */
  readonly tunnelAddress: string | undefined;
  /** `host:port` of its HTTPS server; undefined when none is configured. */
  readonly httpsAddress: string | undefined;
  failures: number;
  /** Not tried before this moment of the monotonic clock. */
  closedUntil: number;
  /** The certificate it showed last, and the CA that signed it: the one it has loaded. */
  verified: { readonly leaf: Buffer; readonly caSha256: string } | undefined;
}

export interface CloudCoreAddresses {
  readonly addresses: readonly string[];
  readonly tunnelAddresses: readonly string[];
  readonly httpsAddresses: readonly string[];
}

/**
 * Which CloudCore a node goes to: the one that rendezvous hashing names among those that work, so that
 * replicas of the gateway agree and the loss of one moves only its own nodes.
 */
export class CloudCores {
  readonly #clock: Clock;
  readonly #options: () => CloudCoreAddresses;
  readonly #known = new Map<string, CloudCore>();

  constructor({ clock }: { clock: Clock }, options: () => CloudCoreAddresses) {
    this.#clock = clock;
    this.#options = options;
  }

  list(): readonly CloudCore[] {
    const { addresses, tunnelAddresses, httpsAddresses } = this.#options();
    return addresses.map((address, at) =>
      this.#of({ address, tunnelAddress: tunnelAddresses[at], httpsAddress: httpsAddresses[at] }),
    );
  }

  has(cloudcore: CloudCore): boolean {
    return this.#options().addresses.includes(cloudcore.address);
  }

  /** @param except one to go past, when there is another that works */
  pick(node: string, except?: CloudCore): CloudCore {
    const now = this.#clock.monotonic();
    const ranked = this.list().toSorted((a, b) => weight(node, b) - weight(node, a));
    const working = ranked.filter(({ closedUntil }) => closedUntil <= now);
    const soonest = ranked.toSorted((a, b) => a.closedUntil - b.closedUntil)[0]!;
    return working.find((one) => one !== except) ?? working[0] ?? soonest;
  }

  failed(cloudcore: CloudCore): void {
    if (++cloudcore.failures < FAILURES) return;
    cloudcore.closedUntil = this.#clock.monotonic() + backoffDelayMs(cloudcore.failures - FAILURES, OPEN);
  }

  works(cloudcore: CloudCore): void {
    cloudcore.failures = 0;
    cloudcore.closedUntil = 0;
  }

  #of(places: Pick<CloudCore, 'address' | 'tunnelAddress' | 'httpsAddress'>): CloudCore {
    const { address, tunnelAddress, httpsAddress } = places;
    const known = this.#known.get(address);
    if (known && known.tunnelAddress === tunnelAddress && known.httpsAddress === httpsAddress) return known;
    const fresh = { ...places, failures: 0, closedUntil: 0, verified: undefined };
    this.#known.set(address, fresh);
    return fresh;
  }
}

function weight(node: string, { address }: CloudCore): number {
  return createHash('sha256').update(`${address} ${node}`).digest().readUIntBE(0, 6);
}
