import { loadavg } from 'node:os';
import { type NatsServer, startNatsServer } from '../../test/support/fleets/nats-server.ts';
import { type BenchGateway, startBenchGateway } from './servers.ts';

/** Two replicas on one nats-server. */
export class NatsRig implements AsyncDisposable {
  readonly nats: NatsServer;
  readonly a: BenchGateway;
  readonly b: BenchGateway;
  readonly #stack: AsyncDisposableStack;

  private constructor({ nats, a, b }: Pick<NatsRig, 'nats' | 'a' | 'b'>, stack: AsyncDisposableStack) {
    this.nats = nats;
    this.a = a;
    this.b = b;
    this.#stack = stack;
  }

  static async start(more: Readonly<Record<string, string>> = {}): Promise<NatsRig> {
    await using stack = new AsyncDisposableStack();
    const nats = stack.use(await startNatsServer());
    const settings = {
      'bus.kind': 'nats',
      'bus.nats.servers': nats.url,
      'hub.replica': 'a',
      'hub.flapThreshold': '100000',
      'hub.keepaliveTimeoutMs': '600000',
      ...more,
    };
    const a = stack.use(await startBenchGateway(settings));
    const onSameSecrets = { ...settings, 'secretStore.path': a.folder, 'hub.replica': 'b' };
    const b = stack.use(await startBenchGateway(onSameSecrets));
    console.log(`load before the run ${loadavg()[0]!.toFixed(1)}`);
    return new NatsRig({ nats, a, b }, stack.move());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}
