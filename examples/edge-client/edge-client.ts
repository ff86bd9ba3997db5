/**
 * A small edge program: joins the hub once, stays connected, reports a temperature, obeys what the cloud sets
 * and answers what it asks. It needs Node 24:
 *
 *     token=$(npm run -s sallyport -- token create --node edge-1)
 *     npx node examples/edge-client/edge-client.ts --hub localhost --node edge-1 --token "$token"
 *
 * Started again it needs no token: key and certificate are in `./edge-1`. Then, from the cloud's side:
 *
 *     npm run -s sallyport -- watch --node edge-1
 *     npm run -s sallyport -- send edge-1 --resource default/thermostat/living-room --operation update \
 *       --content '{"target":22}' --ack
 *
 * Stop the gateway and start it again: the readings of the meantime arrive, in order.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
// In a program of your own: from '@sallyport/sdk'.
import { EdgeClient, type EdgeClientOptions, isSallyportError, type Message } from '../../src/sdk/index.ts';

const THERMOSTAT = 'default/thermostat/living-room';

const { values } = parseArgs({
  options: {
    hub: { type: 'string', default: 'localhost' },
    'https-port': { type: 'string', default: '10002' },
    'websocket-port': { type: 'string', default: '10000' },
    node: { type: 'string', default: 'edge-1' },
    token: { type: 'string' },
    directory: { type: 'string' },
    'period-ms': { type: 'string', default: '5000' },
  },
});

const options: EdgeClientOptions = {
  node: values.node,
  directory: values.directory ?? `./${values.node}`,
  hub: {
    https: `${values.hub}:${values['https-port']}`,
    websocket: `${values.hub}:${values['websocket-port']}`,
  },
};
let target = 20;

try {
  await run();
} catch (error) {
  if (!isSallyportError(error)) throw error;
  console.error(`${error.code}: ${error.message}\n  ${error.fix}`);
  process.exitCode = 1;
}

async function run(): Promise<void> {
  // With a token: joins, unless this node has joined before. The token is checked against the hub's CA before
  // it is sent anywhere.
  await using client = values.token
    ? await EdgeClient.join({ ...options, token: values.token })
    : await EdgeClient.open(options);
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => stop.abort(new Error(signal)));

  client.on('connected', ({ transport, hub }) => console.log(`connected to ${hub} over ${transport}`));
  client.on('disconnected', ({ reason, final }) => {
    console.log(`disconnected: ${reason?.text ?? 'connection lost'}`);
    if (final) stop.abort(new Error('the hub does not want this node'));
  });
  client.on('renewed', ({ notAfter }) => console.log(`new certificate, until ${notAfter.toISOString()}`));
  client.on('error', (error) => console.error(error.message));

  // Returning acknowledges the message, throwing refuses it; respond() answers it instead.
  client.on('message', (message) => handle(client, message));

  await client.connect({ signal: stop.signal }).catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });
  while (!stop.signal.aborted) {
    const temperature = Math.round((target + Math.random() - 0.5) * 10) / 10;
    // Not awaited: while the hub is away readings wait in the queue of the client.
    client
      .send({ resource: THERMOSTAT, operation: 'update', content: { temperature } })
      .then(() => console.log(`reported ${temperature} °C`))
      .catch((error: Error) => console.error(`not reported: ${error.message}`));
    await sleep(Number(values['period-ms']), undefined, { signal: stop.signal }).catch(() => {});
  }
}

async function handle(client: EdgeClient, message: Message): Promise<void> {
  const { operation, resource } = message.route;
  if (resource !== THERMOSTAT) throw new Error(`this node has no ${resource}`);
  if (operation === 'get') return client.respond(message, { target });
  const { target: wanted } = (message.content ?? {}) as { target?: unknown };
  if (typeof wanted !== 'number') throw new Error('target has to be a number');
  target = wanted;
  console.log(`target set to ${target} °C`);
}
