import { join } from 'node:path';
import type { NodeListing } from '../../../src/contracts/node-directory.ts';
import { EdgeCoreSocket, joinAsEdgeCore } from '../edges/edgecore.ts';
import { eventually } from '../eventually.ts';
import { temporaryFolder } from '../temporary-folder.ts';
import { startTestGateway, type TestGateway } from './test-gateway.ts';

export interface GatewayFleetOptions {
  /** NATS, a name for each gateway; its address may differ from one to the next. */
  readonly gateways: Readonly<Record<string, string>>;
  readonly settings?: Readonly<Record<string, string>>;
}

let fleets = 0;

/** Whole gateways in this process, on one folder of Secrets and one NATS. */
export class GatewayFleet implements AsyncDisposable {
  readonly folder = join(temporaryFolder(), 'secrets');
  readonly prefix = `fleet${process.pid}-${fleets++}`;
  readonly #gateways = new Map<string, TestGateway>();

  static async start({ gateways, settings = {} }: GatewayFleetOptions): Promise<GatewayFleet> {
    const fleet = new GatewayFleet();
    for (const [replica, url] of Object.entries(gateways)) await fleet.add(replica, url, settings);
    await fleet.whenWhole();
    return fleet;
  }

  async add(
    replica: string,
    url: string,
    settings: Readonly<Record<string, string>> = {},
  ): Promise<TestGateway> {
    const hub = await startTestGateway({
      folder: this.folder,
      settings: { ...this.settings(replica, url), ...settings },
    });
    this.#gateways.set(replica, hub);
    return hub;
  }

  /** What makes a gateway a replica of this fleet. */
  settings(replica: string, url: string): Record<string, string> {
    return {
      'bus.kind': 'nats',
      'bus.nats.servers': url,
      'bus.nats.prefix': this.prefix,
      'hub.replica': replica,
      'quic.enabled': 'false',
      'webtransport.enabled': 'false',
      'hub.flapThreshold': '1000',
    };
  }

  get(replica: string): TestGateway {
    return this.#gateways.get(replica)!;
  }

  /** Until every gateway sees `size` replicas, itself included. */
  async whenWhole(size = this.#gateways.size): Promise<void> {
    for (const [replica, hub] of this.#gateways) {
      await eventually(`${replica} sees ${size} replicas`, async () => {
        const { items } = await hub.admin.get<{ items: unknown[] }>('/api/v1/replicas');
        return items.length === size;
      });
    }
  }

  async list(replica: string): Promise<NodeListing> {
    return this.get(replica).admin.get<NodeListing>('/api/v1/nodes');
  }

  /** `node@replica`, sorted, as that gateway tells. */
  async nodes(replica: string): Promise<string[]> {
    return (await this.list(replica)).items.map((info) => `${info.node}@${info.replica}`).sort();
  }

  async credentials(node: string, replica: string) {
    const hub = this.get(replica);
    const joined = await joinAsEdgeCore(hub.port('https'), { node, token: await hub.nodeToken(node) });
    if (joined.answer.status !== 200) throw new Error(`join: ${joined.answer.status} ${joined.answer.body}`);
    return joined.credentials;
  }

  connect(node: string, replica: string, credentials: Awaited<ReturnType<GatewayFleet['credentials']>>) {
    return EdgeCoreSocket.open(this.get(replica).port('websocket'), node, credentials);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#gateways.values()].map((hub) => hub[Symbol.asyncDispose]()));
  }
}

/** Why the hub closed the socket: code and the name in the text. */
export function closed(socket: EdgeCoreSocket): Promise<string> {
  return new Promise((resolve) =>
    socket.socket.once('close', (code, reason) => resolve(`${code} ${String(reason).split(':')[0]}`)),
  );
}
