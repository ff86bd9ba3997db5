/**
 * A cloud program in TypeScript whose types come from the gateway: paths, parameters, bodies, answers and the
 * codes of errors. In this folder:
 *
 * 1. npm install
 * 2. With a gateway that runs, and its folder `certs-dev`: curl --cacert ../../certs-dev/ca.crt
 *    --cert ../../certs-dev/admin.crt --key ../../certs-dev/admin.key -o openapi.json
 *    https://localhost:10010/openapi.json
 * 3. npx openapi-typescript openapi.json -o admin-api.d.ts --default-non-nullable false && npm run build
 * 4. node dist/client.js localhost:10010 ../../certs-dev edge-1
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import createClient from 'openapi-fetch';
import { Agent, fetch as undiciFetch } from 'undici';
import type { components, paths } from './admin-api.d.ts';

const [address = 'localhost:10010', secrets = '../../certs-dev', node = 'edge-1'] = process.argv.slice(2);
const read = (file: string) => readFileSync(join(secrets, file));
const dispatcher = new Agent({
  connect: { ca: read('ca.crt'), cert: read('admin.crt'), key: read('admin.key') },
});
const api = createClient<paths>({
  baseUrl: `https://${address}`,
  // Node's own fetch takes no client certificate; that of undici does.
  fetch: async (request: Request) =>
    (await undiciFetch(request.url, {
      dispatcher,
      method: request.method,
      headers: [...request.headers],
      ...(request.body ? { body: await request.text() } : {}),
    })) as unknown as Response,
});

const { data: list } = await api.GET('/api/v1/nodes');
console.log(`${list?.items.length} nodes are connected`);

const missing = await api.GET('/api/v1/nodes/{node}', { params: { path: { node: 'nobody' } } });
const code: components['schemas']['Failure']['error']['code'] | undefined = missing.error?.error.code;
console.log(`nobody: ${code}`);

const { data, error } = await api.POST('/api/v1/messages', {
  body: {
    items: [21, 22].map((target) => ({
      node,
      resource: `default/thermostat/room-${target}`,
      operation: 'update',
      content: { target },
    })),
  },
});
if (error) throw new Error(`${error.error.message}; ${error.error.fix}`);
for (const item of data.items) console.log(item.kind === 'failed' ? item.error.message : item.kind);
await dispatcher.close();
