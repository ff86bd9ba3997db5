import { SallyportError } from '../../core/errors.ts';
import type { TransportName } from '../../protocol/listener-names.ts';
import type { HubAddresses } from '../edge-client-options.ts';
import { TransportMemory } from '../transport-memory.ts';
import { AutoTransport } from './auto-transport.ts';
import { QuicTransport } from './quic-transport.ts';
import type { EdgeTransport, TransportComponents } from './transport.ts';
import { WebSocketTransport } from './websocket-transport.ts';
import { WebTransportTransport } from './webtransport-transport.ts';

type Factory = (
  components: TransportComponents,
  options: { readonly address: string; readonly pingIntervalMs: number },
) => EdgeTransport;

export interface CreateTransportOptions {
  readonly hub: HubAddresses;
  readonly transport: TransportName | 'auto';
  /** Period of the liveness probe, where the transport has none of its own. */
  readonly heartbeatMs: number;
  /** Folder in which `auto` remembers what works. */
  readonly directory: string;
}

/** Best first: this is the order of preference of `auto`. */
const FACTORIES: Readonly<Record<TransportName, Factory>> = {
  quic: (components, options) => new QuicTransport(components, options),
  websocket: (components, options) => new WebSocketTransport(components, options),
  webtransport: (components, options) => new WebTransportTransport(components, options),
};

/** The transport that the options name. @throws CONFIG_INVALID when the hub has no address for it */
export function createTransport(
  components: TransportComponents,
  options: CreateTransportOptions,
): EdgeTransport {
  const candidates = (Object.entries(FACTORIES) as [TransportName, Factory][])
    .filter(([name]) => options.transport === 'auto' || options.transport === name)
    .flatMap(([name, make]) => {
      const address = options.hub[name];
      return address === undefined
        ? []
        : [make(components, { address, pingIntervalMs: options.heartbeatMs })];
    });
  if (candidates.length === 0)
    throw new SallyportError('CONFIG_INVALID', {
      problem: `the hub has no address for transport ${options.transport}`,
    });
  if (candidates.length === 1) return candidates[0]!;
  const memory = new TransportMemory(options.directory, components);
  return new AutoTransport({ ...components, candidates, memory });
}
