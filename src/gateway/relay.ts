import { CertificateAuthority } from '../certs/ca/certificate-authority.ts';
import type { LiveConfig } from '../config/live-config.ts';
import type { SecretStore } from '../contracts/secret-store.ts';
import type { TunnelDialer, UpstreamAuthority } from '../contracts/upstream-relay.ts';
import { retry } from '../core/backoff.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import type { Component } from '../core/lifecycle.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { CloudCoreRelay } from '../relay/cloudcore-relay.ts';

const DAY_MS = 86_400_000;
/** CloudCore checks dates by its own clock. */
const BACKDATE_MS = 600_000;
const READ_AGAIN = { minMs: 500, maxMs: 10_000 };

const NO_TUNNELS: TunnelDialer = {
  dialTunnel: async () => {
    throw new SallyportError('UPSTREAM_UNAVAILABLE', { address: 'none', problem: 'upstream.kind is none' });
  },
};

export interface Relay {
  /** Undefined without `upstream.kind`. */
  readonly relay: CloudCoreRelay | undefined;
  readonly components: readonly Component[];
  /** Without an upstream, it opens none. */
  readonly tunnels: TunnelDialer;
  /** Why no more edges should come; undefined when they may. */
  problem(): string | undefined;
}

/**
 * The relay and its CA. A CloudCore trusts the CA it loaded when it started, so when the Secret changes the
 * CA before stays good for those that still have it.
 */
export function composeRelay(parts: {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly config: LiveConfig;
  /** Asked when the relay starts. */
  readonly store: () => SecretStore;
}): Relay {
  const { clock, log, config } = parts;
  const { upstream, certificates } = config.current;
  if (upstream.kind === 'none')
    return { relay: undefined, components: [], tunnels: NO_TUNNELS, problem: () => undefined };
  const name = upstream.caSecret ?? certificates.caSecret;
  let authorities: readonly UpstreamAuthority[] = [];
  let unsubscribe = () => {};
  const relay = new CloudCoreRelay(
    { ...parts, authorities: () => authorities },
    config.view((now) => now.upstream),
  );
  const take = (secret: Parameters<typeof CertificateAuthority.fromSecret>[0]) => {
    const next = asUpstreamAuthority(CertificateAuthority.fromSecret(secret, { clock }));
    if (next.certificate.sha256 !== authorities[0]?.certificate.sha256)
      authorities = [next, ...authorities].slice(0, 2);
  };
  return {
    relay,
    tunnels: relay,
    problem: () => relay.problem(),
    components: [
      {
        name: 'relay',
        start: async (signal) => {
          const store = parts.store();
          const read = async () => {
            const secret = await store.get(name, signal);
            if (!secret) throw new SallyportError('SECRET_NOT_FOUND', { secret: name });
            take(secret);
          };
          await retry(read, { ...READ_AGAIN, clock, signal, attempts: 5 });
          unsubscribe = store.watch(
            [name],
            (snapshot) => {
              const secret = snapshot.get(name);
              try {
                if (secret) take(secret);
              } catch (error) {
                log.warn(
                  { secret: name, problem: describeError(error) },
                  'the CA of the relay stays as it was',
                );
              }
            },
            (error) =>
              log.warn({ secret: name, problem: describeError(error) }, 'the CA of the relay cannot be read'),
          );
          await relay.start();
        },
        stop: async () => {
          unsubscribe();
          await relay.stop();
        },
      },
    ],
  };
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
