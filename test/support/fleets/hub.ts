import { LocalBus } from '../../../src/bus/local/local-bus.ts';
import { configSchema } from '../../../src/config/schema.ts';
import type { HeardEvent, MessageBus } from '../../../src/contracts/message-bus.ts';
import type { NodeOwnership } from '../../../src/contracts/node-ownership.ts';
import { silentLogger } from '../../../src/core/log.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { LocalOwnership } from '../../../src/fleet/local-ownership.ts';
import { type HubOptions, SessionHub } from '../../../src/hub/session-hub.ts';
import { FakeConnection } from '../../fakes/fake-connection.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { metric } from '../edges/messages.ts';

export interface TestHubOptions extends Partial<HubOptions> {
  readonly random?: () => number;
  /** In place of the local one. */
  readonly ownership?: NodeOwnership;
  /** Stands between hub and bus. */
  readonly wrapBus?: (bus: MessageBus) => MessageBus;
}

/** A hub on a local bus, with a clock that moves when told to. */
export async function startTestHub({
  random = () => 0.5,
  wrapBus = (bus) => bus,
  ownership: given,
  ...changed
}: TestHubOptions = {}) {
  const clock = new ManualClock();
  const metrics = createMetrics({ process: false });
  const parts = { clock, log: silentLogger, metrics };
  const { queue, ...defaults } = configSchema.parse({}).hub;
  let options: HubOptions = { ...defaults, replica: 'test', ...changed };
  const bus = wrapBus(new LocalBus(parts, () => queue));
  await bus.start(new AbortController().signal);
  const ownership = given ?? new LocalOwnership({ clock }, { replica: options.replica });
  const hub = new SessionHub({ ...parts, bus, ownership, random }, () => options);
  await hub.start();
  const events: HeardEvent[] = [];
  bus.subscribe({}, (event) => events.push(event));
  return {
    hub,
    bus,
    clock,
    metrics,
    events,
    /** What happened, as `type node session`. */
    history: () => events.map(({ event }) => `${event.type} ${event.sessionId}`),
    metric: (name: string, labels?: Record<string, string>) => metric(metrics, name, labels),
    configure: (more: Partial<HubOptions>) => {
      options = { ...options, ...more };
    },
    connect: (peer: ConstructorParameters<typeof FakeConnection>[0]) => {
      const connection = new FakeConnection(peer);
      hub.accept(connection);
      return connection;
    },
    async [Symbol.asyncDispose]() {
      await hub.stop();
      await bus.stop(new AbortController().signal);
    },
  };
}
