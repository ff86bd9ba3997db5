import { join } from 'node:path';
import { EdgeClient } from '../../../src/sdk/edge-client.ts';
import type { EdgeClientComponents, EdgeClientOptions } from '../../../src/sdk/edge-client-options.ts';
import type { EdgeEvents } from '../../../src/sdk/edge-events.ts';
import { MiniHub } from '../../support/edges/mini-hub.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** A hub, a folder and the edges that joined; hub and edges are gone when the test ends. */
export class EdgeFixture {
  readonly hub: MiniHub;
  readonly directory: string;
  readonly #clients: EdgeClient[] = [];

  static async start(hub?: MiniHub): Promise<EdgeFixture> {
    return new EdgeFixture(hub ?? (await MiniHub.start()), temporaryFolder());
  }

  private constructor(hub: MiniHub, directory: string) {
    this.hub = hub;
    this.directory = directory;
  }

  get options(): EdgeClientOptions {
    return {
      hub: { https: this.hub.address, websocket: this.hub.address },
      node: 'edge-1',
      directory: join(this.directory, 'edge-1'),
      reconnect: { minMs: 5, maxMs: 20 },
    };
  }

  async join(
    options: Partial<EdgeClientOptions> = {},
    components: EdgeClientComponents = {},
  ): Promise<EdgeClient> {
    const client = await EdgeClient.join({ ...this.options, ...options, token: this.hub.token }, components);
    this.#clients.push(client);
    return client;
  }

  async connect(
    options: Partial<EdgeClientOptions> = {},
    components: EdgeClientComponents = {},
  ): Promise<EdgeClient> {
    const client = await this.join(options, components);
    await client.connect();
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client.close();
    await this.hub[Symbol.asyncDispose]();
  }
}

/** The next event of this kind. */
export function next<E extends keyof EdgeEvents>(client: EdgeClient, event: E): Promise<EdgeEvents[E]> {
  return new Promise((resolve) => {
    const off = client.on(event, (value) => {
      off();
      resolve(value);
    });
  });
}
