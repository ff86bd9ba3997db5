import type { Config } from '../config/schema.ts';
import type { MessageBus } from '../contracts/message-bus.ts';
import type { Component } from '../core/lifecycle.ts';
import { NatsConnection } from '../nats/nats-connection.ts';
import { LocalBus } from './local/local-bus.ts';
import { NatsBus, type NatsBusParts } from './nats/nats-bus.ts';

export interface OpenedBus {
  readonly bus: MessageBus;
  /** Undefined where this hub runs alone. */
  readonly connection: NatsConnection | undefined;
  /** In the order they start. */
  readonly components: readonly Component[];
}

/** The bus that `bus.kind` names, not started yet. @throws BUS_CREDENTIALS_UNREADABLE, CONFIG_INVALID */
export function openBus(
  parts: Omit<NatsBusParts, 'connection'>,
  settings: () => Config,
  { replica }: { readonly replica: string },
): OpenedBus {
  const { kind, nats } = settings().bus;
  if (kind === 'local') {
    const bus = new LocalBus(parts, () => settings().hub.queue);
    return { bus, connection: undefined, components: [bus] };
  }
  const connection = new NatsConnection(parts, { ...nats, replica });
  const bus = new NatsBus({ ...parts, connection }, nats);
  return { bus, connection, components: [connection, bus] };
}
