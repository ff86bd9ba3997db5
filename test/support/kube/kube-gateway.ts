import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AdminClient, type BearerCredentials } from '../../../src/cli/admin/admin-client.ts';
import { LiveConfig } from '../../../src/config/live-config.ts';
import { loadConfig } from '../../../src/config/load.ts';
import type { Clock } from '../../../src/core/clock.ts';
import { type Logger, silentLogger } from '../../../src/core/log.ts';
import { type Gateway, startGateway } from '../../../src/gateway/start-gateway.ts';
import type { KubeApi } from './kube-api.ts';
import { storedCa } from './kube-fleet.ts';

/** A token that `startKubeGateway` makes an administrator's. */
export const OPERATOR = { token: 'operator-token', username: 'system:serviceaccount:kubeedge:operator' };

export interface KubeGateway extends AsyncDisposable {
  readonly gateway: Gateway;
  readonly admin: AdminClient;
  port(name: 'https' | 'websocket' | 'admin'): number;
}

export interface KubeGatewayOptions {
  readonly settings?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  readonly log?: Logger;
  readonly clock?: Clock;
}

/** A whole gateway in this process, its Secrets on an API server in memory. */
export async function startKubeGateway(api: KubeApi, options: KubeGatewayOptions = {}): Promise<KubeGateway> {
  api.reviews.users.set(OPERATOR.token, { username: OPERATOR.username });
  api.reviews.grants = [
    { username: OPERATOR.username, nonResourceURLs: ['/sallyport/admin', '/metrics'], verbs: ['*'] },
  ];
  const credentials = async () => ({ bearerToken: OPERATOR.token, ca: storedCa(api).pem });
  return startOnCluster({ kubeconfig: api.kubeconfig(), credentials }, options);
}

/** A whole gateway in this process, its Secrets where the kubeconfig leads. */
export async function startOnCluster(
  { kubeconfig, credentials }: { kubeconfig: string; credentials: () => Promise<BearerCredentials> },
  { settings = {}, signal, log = silentLogger, clock }: KubeGatewayOptions = {},
): Promise<KubeGateway> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-kube-'));
  const before = process.env.KUBECONFIG;
  process.env.KUBECONFIG = join(folder, 'config');
  writeFileSync(process.env.KUBECONFIG, kubeconfig);
  const restore = () => {
    if (before === undefined) delete process.env.KUBECONFIG;
    else process.env.KUBECONFIG = before;
    rmSync(folder, { recursive: true, force: true });
  };
  const sources = {
    flags: {
      'secretStore.kind': 'kubernetes',
      'secretStore.requestTimeoutMs': '2000',
      'https.port': '0',
      'websocket.port': '0',
      'quic.enabled': 'false',
      'admin.port': '0',
      'https.host': '127.0.0.1',
      'websocket.host': '127.0.0.1',
      'limits.drainMs': '100',
      // Edges of tests may be silent for as long as a busy machine takes.
      'hub.keepaliveTimeoutMs': '600000',
      ...settings,
    },
  };
  try {
    const config = new LiveConfig({ log }, loadConfig(sources), sources);
    const gateway = await startGateway(
      { config, log, ...(clock ? { clock } : {}) },
      { ...(signal ? { signal } : {}) },
    );
    const admin = new AdminClient({
      address: gateway.ready().admin!,
      credentials,
      hubNames: ['localhost'],
    });
    return {
      gateway,
      admin,
      port: (name) => Number(gateway.ready()[name]!.split(':').at(-1)),
      [Symbol.asyncDispose]: async () => {
        await gateway.stop();
        restore();
      },
    };
  } catch (error) {
    restore();
    throw error;
  }
}
