import { parseCertificates } from '../../certs/x509/certificate-chain.ts';
import type { Clock } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import { KubeClient, type KubeClientOptions } from '../../secrets/kubernetes/kube-client.ts';
import { KubeSecretStore } from '../../secrets/kubernetes/kube-secret-store.ts';

export interface ClusterCredentialsOptions extends KubeClientOptions {
  /** Secret of the gateway's CA. */
  readonly caSecret: string;
}

/** What an administrator with a kubeconfig identifies itself with, and the hub by. */
export interface ClusterCredentials {
  /** Of the kubeconfig's user. @throws BEARER_MISSING when it identifies itself in another way */
  bearerToken(): Promise<string>;
  /** PEM. @throws SECRET_NOT_FOUND, SECRET_STORE_FORBIDDEN, SECRET_STORE_UNAVAILABLE, SECRET_KEY_MISSING */
  ca(): Promise<string>;
  close(): Promise<void>;
}

/** @throws CONFIG_INVALID when there is no kubeconfig */
export async function loadClusterCredentials(
  components: { clock: Clock; log: Logger; metrics: Metrics },
  options: ClusterCredentialsOptions,
): Promise<ClusterCredentials> {
  const client = await KubeClient.load(components, options);
  const store = new KubeSecretStore({ ...components, client }, { resyncMs: 60_000 });
  return {
    bearerToken: async () => {
      const token = await client.bearerToken();
      if (token === undefined) throw new SallyportError('BEARER_MISSING');
      return token;
    },
    ca: async () => {
      const secret = await store.get(options.caSecret);
      if (!secret) throw new SallyportError('SECRET_NOT_FOUND', { secret: options.caSecret });
      const { cadata } = secret.data;
      if (!cadata?.length)
        throw new SallyportError('SECRET_KEY_MISSING', { secret: options.caSecret, key: 'cadata' });
      return parseCertificates(cadata, `cadata of secret ${options.caSecret}`).map(String).join('');
    },
    close: () => store.close(),
  };
}
