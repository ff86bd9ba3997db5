import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AdminClient } from '../../../src/cli/admin/admin-client.ts';
import { LiveConfig } from '../../../src/config/live-config.ts';
import { loadConfig } from '../../../src/config/load.ts';
import type { Clock } from '../../../src/core/clock.ts';
import { type Logger, silentLogger } from '../../../src/core/log.ts';
import { createLogger } from '../../../src/core/pino-log.ts';
import { type Gateway, startGateway } from '../../../src/gateway/start-gateway.ts';
import type { EdgeClientOptions } from '../../../src/sdk/edge-client-options.ts';

export type PortName = 'https' | 'websocket' | 'quic' | 'webtransport' | 'tunnel' | 'admin';

/** A whole gateway in this process: free ports, a folder of its own, the real store, real time. */
export interface TestGateway extends AsyncDisposable {
  readonly gateway: Gateway;
  readonly config: LiveConfig;
  /** The file the configuration comes from: write it and call `config.reload()`. */
  readonly file: string;
  readonly folder: string;
  readonly admin: AdminClient;
  port(name: PortName): number;
  /** What `EdgeClient.join` needs of this gateway. */
  edgeOptions(node: string, more?: Partial<EdgeClientOptions>): EdgeClientOptions;
  nodeToken(node: string): Promise<string>;
  stop(): Promise<void>;
}

export interface TestGatewayOptions {
  /** Setting path → text. */
  readonly settings?: Readonly<Record<string, string>>;
  /** A folder to share or to start again on; it is then not removed. */
  readonly folder?: string;
  /** Content of the configuration file. */
  readonly yaml?: string;
  readonly log?: Logger;
  readonly clock?: Clock;
}

export async function startTestGateway(options: TestGatewayOptions = {}): Promise<TestGateway> {
  const base = mkdtempSync(join(tmpdir(), 'sallyport-test-'));
  const folder = options.folder ?? join(base, 'secrets');
  const file = join(base, 'gateway.yaml');
  writeFileSync(file, options.yaml ?? 'apiVersion: sallyport/v1\nkind: Gateway\n');
  const sources = {
    file,
    flags: {
      'https.port': '0',
      'websocket.port': '0',
      'quic.enabled': 'false',
      'quic.port': '0',
      'webtransport.port': '0',
      'admin.port': '0',
      'https.host': '127.0.0.1',
      'websocket.host': '127.0.0.1',
      'quic.host': '127.0.0.1',
      'webtransport.host': '127.0.0.1',
      'secretStore.path': folder,
      'limits.drainMs': '200',
      ...options.settings,
    },
  };
  const log =
    options.log ?? (process.env.TEST_LOG ? createLogger({ level: 'debug', format: 'pretty' }) : silentLogger);
  const config = new LiveConfig({ log }, loadConfig(sources), sources);
  const gateway = await startGateway({ config, log, ...(options.clock ? { clock: options.clock } : {}) });
  const port = (name: PortName) => Number(gateway.ready()[name]!.split(':').at(-1));
  const admin = new AdminClient({
    address: gateway.ready().admin!,
    cert: join(folder, 'admin.crt'),
    key: join(folder, 'admin.key'),
    ca: join(folder, 'ca.crt'),
  });
  const addresses = () => {
    const at = (name: PortName) => `localhost:${port(name)}`;
    const { quic, webtransport } = gateway.ready();
    return {
      https: at('https'),
      websocket: at('websocket'),
      ...(quic ? { quic: at('quic') } : {}),
      ...(webtransport ? { webtransport: at('webtransport') } : {}),
    };
  };
  let edges = 0;
  return {
    gateway,
    config,
    file,
    folder,
    admin,
    port,
    edgeOptions: (node, more) => ({
      node,
      directory: join(base, `edge-${node}-${edges++}`),
      transport: 'websocket',
      hub: addresses(),
      reconnect: { minMs: 50, maxMs: 500 },
      ...more,
    }),
    nodeToken: async (node) => (await admin.post<{ token: string }>('/api/v1/tokens', { node })).token,
    stop: () => gateway.stop(),
    [Symbol.asyncDispose]: async () => {
      await gateway.stop();
      rmSync(base, { recursive: true, force: true });
    },
  };
}
