import { CertificateAuthority } from '../certs/ca/certificate-authority.ts';
import type { NodeDirectory } from '../contracts/node-directory.ts';
import type { SecretStore } from '../contracts/secret-store.ts';
import type { TunnelDialer, UpstreamAuthority } from '../contracts/upstream-relay.ts';
import { retry } from '../core/backoff.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import type { Component } from '../core/lifecycle.ts';
import type { Logger } from '../core/log.ts';
import { isNodeName } from '../protocol/node-name.ts';
import { CloudCoreRelay } from '../relay/cloudcore-relay.ts';
import type { GatewayWorld } from './gateway-world.ts';

const DAY_MS = 86_400_000;
/** CloudCore checks dates by its own clock. */
const BACKDATE_MS = 600_000;
const READ_AGAIN = { minMs: 500, maxMs: 10_000 };

/** A request has its own deadline. */
const NEVER = new AbortController().signal;

const NO_TUNNELS: TunnelDialer = {
  dialTunnel: async () => {
    throw new SallyportError('UPSTREAM_UNAVAILABLE', { address: 'none', problem: 'upstream.kind is none' });
  },
};

type RelayParts = Pick<GatewayWorld, 'clock' | 'log' | 'metrics' | 'config'>;

export interface Relay {
  /** Undefined without `upstream.kind`. */
  readonly relay: CloudCoreRelay | undefined;
  /** @param store has the CA; read when the relay starts */
  components(store: SecretStore): Component[];
  /** Whether CloudCore has a node of this name; false when there is none to ask. */
  knows(node: string): boolean | Promise<boolean>;
  /** Without an upstream, it opens none. */
  readonly tunnels: TunnelDialer;
  /** Why no more edges should come; undefined when they may. */
  problem(): string | undefined;
}

/**
 * The relay and its CA. `nodes` knows the nodes of all gateways; it is asked only once they are there. A
 * CloudCore trusts the CA it loaded when it started, so when the Secret changes the CA before stays good for
 * those that still have it.
 */
export function composeRelay(
  { clock, log, metrics, config }: RelayParts,
  { nodes }: { readonly nodes: () => Pick<NodeDirectory, 'get'> },
): Relay {
  const { upstream, certificates } = config.current;
  if (upstream.kind === 'none')
    return {
      relay: undefined,
      components: () => [],
      knows: () => false,
      tunnels: NO_TUNNELS,
      problem: () => undefined,
    };
  const cas = new RelayCas({ clock, log }, upstream.caSecret ?? certificates.caSecret);
  const relay = new CloudCoreRelay(
    {
      ...{ clock, log, metrics },
      authorities: () => cas.list,
      homeElsewhere: async (node) => {
        const upstream = (await nodes().get(node))?.upstream;
        return upstream?.state === 'open' ? upstream.address : undefined;
      },
    },
    config.view((now) => now.upstream),
  );
  return {
    relay,
    knows: async (node) => {
      if (config.current.upstream.httpsAddresses.length === 0 || !isNodeName(node)) return false;
      const request = { node, method: 'GET', path: `/node/${node}`, signal: NEVER } as const;
      return (await relay.ask(request)).status === 200;
    },
    tunnels: relay,
    problem: () => relay.problem(),
    components: (store) => [
      {
        name: 'relay',
        start: async (signal) => {
          await cas.follow(store, signal);
          await relay.start();
        },
        stop: async () => {
          cas.stop();
          await relay.stop();
        },
      },
    ],
  };
}

/** The CA of the relay's Secret, and the one before. */
class RelayCas {
  list: readonly UpstreamAuthority[] = [];
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #secret: string;
  #unsubscribe = () => {};

  constructor({ clock, log }: { clock: Clock; log: Logger }, secret: string) {
    this.#clock = clock;
    this.#log = log;
    this.#secret = secret;
  }

  /** @throws SECRET_NOT_FOUND, and what the store throws */
  async follow(store: SecretStore, signal: AbortSignal): Promise<void> {
    const secret = this.#secret;
    const read = async () => {
      const found = await store.get(secret, signal);
      if (!found) throw new SallyportError('SECRET_NOT_FOUND', { secret });
      this.#take(found);
    };
    await retry(read, { ...READ_AGAIN, clock: this.#clock, signal, attempts: 5 });
    this.#unsubscribe = store.watch(
      [secret],
      (snapshot) => {
        const found = snapshot.get(secret);
        try {
          if (found) this.#take(found);
        } catch (error) {
          this.#warn(error, 'the CA of the relay stays as it was');
        }
      },
      (error) => this.#warn(error, 'the CA of the relay cannot be read'),
    );
  }

  stop(): void {
    this.#unsubscribe();
  }

  #take(secret: Parameters<typeof CertificateAuthority.fromSecret>[0]): void {
    const next = asUpstreamAuthority(CertificateAuthority.fromSecret(secret, { clock: this.#clock }));
    if (next.certificate.sha256 !== this.list[0]?.certificate.sha256)
      this.list = [next, ...this.list].slice(0, 2);
  }

  #warn(error: unknown, message: string): void {
    this.#log.warn({ secret: this.#secret, problem: describeError(error) }, message);
  }
}

export function asUpstreamAuthority(ca: CertificateAuthority): UpstreamAuthority {
  return {
    certificate: ca.certificate,
    issueNode: async ({ node, publicKey, lifetimeMs }) => {
      const { der } = await ca.issueEdge({
        publicKey,
        nodeName: node,
        usages: ['clientAuth'],
        days: lifetimeMs / DAY_MS,
        backdateMs: BACKDATE_MS,
      });
      return der;
    },
  };
}
