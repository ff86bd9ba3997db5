import { createHash, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { goGet } from '../edges/edgecore.ts';
import { TcpRelay } from '../edges/tcp-relay.ts';
import { type GatewayProcess, type LaunchedGateway, launchGateway } from '../fleets/process.ts';
import { type Pair, storedPair } from '../pki/pki.ts';
import { KubeApi } from './kube-api.ts';

export const portOf = (address: string) => Number(address.split(':').at(-1));

/** Replicas in processes of their own, each with its own token and its own way to one API server. */
export class KubeFleet implements AsyncDisposable {
  readonly api: KubeApi;
  readonly folder = mkdtempSync(join(tmpdir(), 'sallyport-fleet-'));
  readonly #launched: LaunchedGateway[] = [];
  readonly #relays: TcpRelay[] = [];
  readonly #settings: Readonly<Record<string, string>>;

  private constructor(api: KubeApi, settings: Readonly<Record<string, string>>) {
    this.api = api;
    this.#settings = settings;
  }

  static async start(settings: Readonly<Record<string, string>> = {}): Promise<KubeFleet> {
    return new KubeFleet(await KubeApi.start(), settings);
  }

  /** The replica's token is `token-<name>`; `relay` is its only way to the API. */
  async launch(
    name: string,
    settings: Readonly<Record<string, string>> = {},
  ): Promise<LaunchedGateway & { readonly relay: TcpRelay; readonly kubeconfig: string }> {
    const token = `token-${name}`;
    this.api.tokens.add(token);
    const relay = await TcpRelay.to(portOf(this.api.url));
    this.#relays.push(relay);
    const config = parse(this.api.kubeconfig({ token })) as { clusters: { cluster: { server: string } }[] };
    config.clusters[0]!.cluster.server = `https://127.0.0.1:${relay.port}`;
    const kubeconfig = join(this.folder, `${name}.json`);
    writeFileSync(kubeconfig, JSON.stringify(config));
    const gateway = launchGateway(
      join(this.folder, name),
      {
        'secretStore.kind': 'kubernetes',
        'hub.replica': name,
        'limits.drainMs': '100',
        ...this.#settings,
        ...settings,
      },
      { KUBECONFIG: kubeconfig },
    );
    this.#launched.push(gateway);
    return { ...gateway, relay, kubeconfig };
  }

  async start(names: readonly string[], settings: Readonly<Record<string, string>> = {}) {
    const launched = await Promise.all(names.map((name) => this.launch(name, settings)));
    return Promise.all(
      launched.map(async ({ whenReady, relay, kubeconfig }) => ({ ...(await whenReady), relay, kubeconfig })),
    );
  }

  /** The bytes of a key of a stored Secret. */
  data(secret: string, key: string): Buffer {
    return storedBytes(this.api, secret, key);
  }

  /** SHA-256 of the stored CA. */
  caSha256(): string {
    return createHash('sha256').update(this.data('casecret', 'cadata')).digest('hex');
  }

  hubCertificate(): X509Certificate {
    return new X509Certificate(this.data('cloudcoresecret', 'cloudcoredata'));
  }

  /** Writes of a Secret that took effect, as verbs. */
  writesOf(secret: string): string[] {
    return this.api.writes.filter(({ name }) => name === secret).map(({ verb }) => verb);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#launched.map((gateway) => gateway[Symbol.asyncDispose]()));
    for (const relay of this.#relays) await relay[Symbol.asyncDispose]();
    await this.api[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export async function servedCa({ ready }: Pick<GatewayProcess, 'ready'>): Promise<Buffer> {
  return (await goGet(portOf(ready.https), '/ca.crt')).body;
}

/** A probe's answer, checks and remarks included. */
export async function probe(https: string | number, name: 'livez' | 'readyz') {
  const port = typeof https === 'number' ? https : portOf(https);
  const { status, body } = await goGet(port, `/${name}?verbose`);
  return { status, text: body.toString() };
}

/** The stored CA with its key, to mint with. */
export function storedCa(api: KubeApi): Pair {
  return storedPair(storedBytes(api, 'casecret', 'cadata'), storedBytes(api, 'casecret', 'cakeydata'));
}

/** The bytes of a key of a stored Secret; none when there is no such. */
export function storedBytes(api: KubeApi, secret: string, key: string): Buffer {
  const data = api.stored(secret)?.data as Record<string, string> | undefined;
  return Buffer.from(data?.[key] ?? '', 'base64');
}

/** Puts a hub certificate into the Secret as another client of the API would. */
export function putHub(api: KubeApi, hub: Pair): void {
  api.put('cloudcoresecret', { data: hubData(hub) });
}

/** `data` of the hub Secret. */
export function hubData(hub: Pair): Record<'cloudcoredata' | 'cloudcorekeydata', string> {
  const key = hub.privateKey.export({ type: 'sec1', format: 'der' });
  return { cloudcoredata: hub.der.toString('base64'), cloudcorekeydata: key.toString('base64') };
}
