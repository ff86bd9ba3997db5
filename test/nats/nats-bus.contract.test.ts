import { afterAll, beforeAll } from 'vitest';
import { messageBusContract } from '../contract/message-bus.contract.ts';
import { type NatsServer, startNatsServer } from '../support/fleets/nats-server.ts';
import { startNatsBus } from './rig.ts';

let server: NatsServer;
let buses = 0;
beforeAll(async () => {
  server = await startNatsServer();
});
afterAll(() => server[Symbol.asyncDispose]());

messageBusContract('NatsBus', async (limits = { messagesPerNode: 100 }) => {
  const rig = await startNatsBus({ servers: [server.url], prefix: `bus${buses++}`, limits });
  return { bus: rig.bus, dispose: async () => rig[Symbol.asyncDispose]() };
});
