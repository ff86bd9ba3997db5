import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AdminClient } from '../../src/cli/admin/admin-client.ts';
import type { HubAddresses } from '../../src/sdk/edge-client-options.ts';
import { type NatsServer, startNatsCluster, startNatsServer } from '../support/fleets/nats-server.ts';
import { type GatewayProcess, type LaunchedGateway, launchGateway } from '../support/fleets/process.ts';
import { RandomTcpBalancer, RandomUdpBalancer } from '../support/fleets/random-balancer.ts';
import { writeCaSecret } from '../support/fleets/secret-files.ts';
import type { Pair } from '../support/pki/pki.ts';

export interface ChaosHubOptions {
  readonly replicas: number;
  /** 1: one server; 3: a cluster with three copies of everything. */
  readonly natsServers: 1 | 3;
  readonly random: () => number;
  /** The CA that is there already; else the first replica makes one. */
  readonly ca?: Pair;
  readonly settings?: Readonly<Record<string, string>>;
}

interface Replica {
  readonly name: string;
  process: LaunchedGateway;
  ready: GatewayProcess['ready'] | undefined;
  admin: AdminClient | undefined;
}

type Port = 'https' | 'websocket' | 'quic' | 'admin';

/**
 * Replicas and NATS servers in processes of their own, with one folder of Secrets, behind balancers that
 * choose by chance.
 */
export class ChaosHub implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'sallyport-chaos-'));
  readonly prefix = 'chaos';
  readonly servers: readonly NatsServer[];
  readonly #replicas: Replica[] = [];
  readonly #random: () => number;
  readonly #settings: Readonly<Record<string, string>>;
  readonly #stack: AsyncDisposableStack;
  #addresses: HubAddresses | undefined;

  private constructor(
    servers: readonly NatsServer[],
    {
      random,
      settings = {},
      stack,
    }: Pick<ChaosHubOptions, 'random' | 'settings'> & { stack: AsyncDisposableStack },
  ) {
    this.servers = servers;
    this.#settings = settings;
    this.#random = random;
    this.#stack = stack;
  }

  static async start({ replicas, natsServers, ca, ...options }: ChaosHubOptions): Promise<ChaosHub> {
    await using stack = new AsyncDisposableStack();
    let servers: readonly NatsServer[];
    if (natsServers === 1) servers = [stack.use(await startNatsServer())];
    else servers = stack.use(await startNatsCluster(natsServers)).servers;
    const hub = new ChaosHub(servers, { ...options, stack: stack.move() });
    try {
      if (ca) writeCaSecret(hub.secrets, ca);
      // The first makes the CA, so that the others need not wait for each other.
      for (let index = 0; index < replicas; index++) await hub.#launch(`replica-${index}`);
      await hub.#balance();
      return hub;
    } catch (error) {
      await hub[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Where edges connect to: the balancers. */
  get addresses(): HubAddresses {
    return this.#addresses!;
  }

  get secrets(): string {
    return join(this.folder, 'secrets');
  }

  /** A replica that is alive, by chance. */
  readonly anyAdmin = (): AdminClient | undefined => {
    const alive = this.#replicas.filter(({ admin }) => admin !== undefined);
    return alive[Math.floor(this.#random() * alive.length)]?.admin;
  };

  get replicaCount(): number {
    return this.#replicas.length;
  }

  /**
   * `kill -9`, some time without it, and a new process with other ports under the same name. @returns its
   * name
   */
  async killReplica(index: number, downMs: number): Promise<string> {
    const replica = this.#replicas[index]!;
    const { child } = replica.process;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
    replica.ready = undefined;
    replica.admin = undefined;
    await wait(downMs);
    await this.#launch(replica.name, replica);
    return replica.name;
  }

  /** `kill -9` of a NATS server, which comes back on its port and its store. */
  async killNats(index: number, downMs: number): Promise<string> {
    const server = this.servers[index]!;
    await server.kill('SIGKILL');
    await wait(downMs);
    await server.start();
    return `nats-server ${index}`;
  }

  /** What each replica wrote last, for a report of what went wrong. */
  logs(): string {
    return this.#replicas
      .map(({ name, process: { log } }) => `— ${name}\n${log().slice(-3_000)}`)
      .concat(this.servers.map((server, index) => `— nats-server ${index}\n${server.log().slice(-1_500)}`))
      .join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#replicas.map(async ({ process: { child } }) => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const exited = once(child, 'exit');
        child.kill('SIGKILL');
        await exited;
      }),
    );
    await this.#stack.disposeAsync();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #launch(name: string, again?: Replica): Promise<void> {
    const launched = launchGateway(this.secrets, {
      'bus.kind': 'nats',
      'bus.nats.servers': this.servers.map(({ url }) => url).join(','),
      'bus.nats.prefix': this.prefix,
      'bus.nats.replicas': String(this.servers.length),
      'hub.replica': name,
      // Edges that move whenever a replica dies are what is wanted here.
      'hub.flapThreshold': '100000',
      'quic.enabled': 'true',
      'quic.port': '0',
      'quic.host': '127.0.0.1',
      'webtransport.enabled': 'false',
      'log.level': 'warn',
      'log.format': 'json',
      ...this.#settings,
    });
    const replica = again ?? { name, process: launched, ready: undefined, admin: undefined };
    replica.process = launched;
    if (!again) this.#replicas.push(replica);
    const { ready } = await launched.whenReady;
    replica.ready = ready;
    const file = (name: string) => join(this.secrets, name);
    replica.admin = new AdminClient({
      address: ready.admin,
      cert: file('admin.crt'),
      key: file('admin.key'),
      ca: file('ca.crt'),
    });
  }

  async #balance(): Promise<void> {
    const targets = (name: Port) => () =>
      this.#replicas.flatMap(({ ready }) => {
        const address = (ready as Record<string, string> | undefined)?.[name];
        return address ? [Number(address.split(':').at(-1))] : [];
      });
    const tcp = async (name: Port) => {
      const balancer = this.#stack.use(await RandomTcpBalancer.start(targets(name), this.#random));
      return `localhost:${balancer.port}`;
    };
    const udp = this.#stack.use(await RandomUdpBalancer.start(targets('quic'), this.#random));
    this.#addresses = {
      https: await tcp('https'),
      websocket: await tcp('websocket'),
      quic: `127.0.0.1:${udp.port}`,
    };
  }
}

export const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
