import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CoreV1Api, KubeConfig } from '@kubernetes/client-node';
import { stringify } from 'yaml';
import { TcpRelay } from '../edges/tcp-relay.ts';

/** A namespace of its own on the cluster that a kubeconfig names, and a way there that can be cut. */
export class RealCluster implements AsyncDisposable {
  readonly namespace = `sallyport-test-${randomBytes(5).toString('hex')}`;
  /** Kubeconfig whose way to the cluster is `relay`. */
  readonly kubeconfig: string;
  readonly relay: TcpRelay;
  readonly #api: CoreV1Api;

  private constructor(parts: { api: CoreV1Api; relay: TcpRelay; kubeconfig: string }) {
    this.#api = parts.api;
    this.relay = parts.relay;
    this.kubeconfig = parts.kubeconfig;
  }

  /** @param folder where the rewritten kubeconfig is put */
  static async open(source: string, folder: string): Promise<RealCluster> {
    const config = new KubeConfig();
    config.loadFromFile(source);
    const { server, caData, caFile, tlsServerName } = config.getCurrentCluster()!;
    const url = new URL(server);
    const relay = await TcpRelay.to(Number(url.port || 443), url.hostname);
    const kubeconfig = join(folder, `cluster-${relay.port}`);
    const document = JSON.parse(config.exportConfig()) as {
      clusters: { name: string; cluster: Record<string, unknown> }[];
    };
    for (const { cluster } of document.clusters) {
      if (cluster.server !== server) continue;
      cluster.server = `https://127.0.0.1:${relay.port}`;
      cluster['tls-server-name'] = tlsServerName ?? url.hostname;
      if (caData) cluster['certificate-authority-data'] = caData;
      else if (caFile) cluster['certificate-authority'] = caFile;
    }
    writeFileSync(kubeconfig, stringify(document), { mode: 0o600 });
    const cluster = new RealCluster({ api: config.makeApiClient(CoreV1Api), relay, kubeconfig });
    await cluster.#api.createNamespace({ body: { metadata: { name: cluster.namespace } } });
    return cluster;
  }

  async removeSecret(name: string): Promise<void> {
    await this.#api.deleteNamespacedSecret({ name, namespace: this.namespace });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#api.deleteNamespace({ name: this.namespace });
    await this.relay[Symbol.asyncDispose]();
  }
}
