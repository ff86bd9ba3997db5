import { NatsBus } from '../../src/bus/nats/nats-bus.ts';
import { type ConfigInput, configSchema } from '../../src/config/schema.ts';
import type {
  DeliveryOutcome,
  DownstreamConsumer,
  DownstreamItem,
  UpstreamEvent,
} from '../../src/contracts/message-bus.ts';
import { systemClock } from '../../src/core/clock.ts';
import { silentLogger } from '../../src/core/log.ts';
import { createMetrics, type Metrics } from '../../src/core/metrics.ts';
import { isAcknowledged } from '../../src/hub/acknowledgement-policy.ts';
import { NatsConnection } from '../../src/nats/nats-connection.ts';
import { createMessage } from '../../src/protocol/message.ts';

export type NatsSettings = NonNullable<NonNullable<ConfigInput['bus']>['nats']>;

export interface BusRig extends AsyncDisposable {
  readonly bus: NatsBus;
  readonly connection: NatsConnection;
  readonly metrics: Metrics;
}

/** A bus as one replica has it. A prefix is a bus of its own: several fit on one server. */
export async function startNatsBus(settings: NatsSettings & { servers: string[] }): Promise<BusRig> {
  const rig = createNatsBus(settings);
  await rig.connection.start();
  await rig.bus.start(new AbortController().signal);
  return rig;
}

export function createNatsBus(settings: NatsSettings & { servers: string[] }): BusRig {
  const { nats } = configSchema.parse({ bus: { nats: settings } }).bus;
  const metrics = createMetrics({ process: false });
  const parts = { clock: systemClock, log: silentLogger, metrics };
  const connection = new NatsConnection(parts, { ...nats, replica: 'replica-1' });
  const bus = new NatsBus({ ...parts, connection, isAcknowledged }, nats);
  return {
    bus,
    connection,
    metrics,
    [Symbol.asyncDispose]: async () => {
      await bus.stop(AbortSignal.timeout(5_000));
      await connection.stop();
    },
  };
}

/** A session that takes everything, and acknowledges it at once unless told otherwise. */
export class TakingConsumer implements DownstreamConsumer {
  readonly window: number;
  readonly contents: unknown[] = [];
  readonly #answer: (item: DownstreamItem) => Promise<DeliveryOutcome | 'disconnected'>;

  constructor({
    window = 32,
    answer = async () => ({ kind: 'acknowledged' }),
  }: { window?: number; answer?: (item: DownstreamItem) => Promise<DeliveryOutcome | 'disconnected'> } = {}) {
    this.window = window;
    this.#answer = answer;
  }

  deliver(item: DownstreamItem): Promise<DeliveryOutcome | 'disconnected'> {
    this.contents.push(item.message.content);
    return this.#answer(item);
  }
}

export function numbered(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

/** What an edge says. */
export function upstream(node: string, content: unknown): UpstreamEvent & { type: 'message' } {
  const resource = `node/${node}/default/podstatus/p.1`;
  const route = { source: 'edged', group: 'resource', operation: 'update', resource };
  return {
    type: 'message',
    direction: 'upstream',
    node,
    sessionId: 's-1',
    message: createMessage(route, content, { now: 0 }),
    bytes: 1,
  };
}
