/**
 * `npm run openapi:check`: starts a gateway and holds it against its own OpenAPI document. A client generated
 * by openapi-typescript is built and used (examples/typed-client); schemathesis sends what the document
 * allows, and what it does not. Both are installed into a temporary folder; schemathesis needs Python.
 */
import { once } from 'node:events';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { startBenchGateway } from '../bench/lib/servers.ts';
import { assert, run, runSteps } from './steps.ts';

const SCHEMATHESIS = 'schemathesis>=4.32,<5';
/** What has a default may be left out of a request. */
const OPTIONAL = ['--default-non-nullable', 'false'];

await using gateway = await startBenchGateway();
const { folder, ports } = gateway;
const client = join(folder, 'client');
const admin = `localhost:${ports.admin}`;

await runSteps('openapi:check', {
  'a client made by openapi-typescript compiles and works': async () => {
    cpSync('examples/typed-client', client, { recursive: true });
    run(client, 'npm', 'install', '--no-audit', '--no-fund', '--loglevel=error');
    writeFileSync(join(client, 'openapi.json'), await get('/openapi.json'));
    run(client, 'npx', 'openapi-typescript', 'openapi.json', '-o', 'admin-api.d.ts', ...OPTIONAL);
    run(client, 'npm', 'run', '-s', 'build');
    const said = run(client, process.execPath, 'dist/client.js', admin, folder, 'edge-1').trim();
    assert(said === '0 nodes are connected\nnobody: NODE_NOT_FOUND\nqueued\nqueued', said);
    return undefined;
  },

  'schemathesis finds nothing': async () => {
    const venv = join(folder, 'venv');
    run(folder, 'python3', '-m', 'venv', venv);
    run(folder, join(venv, 'bin/pip'), 'install', '--quiet', '--disable-pip-version-check', SCHEMATHESIS);
    const file = (name: string) => join(folder, name);
    const said = run(
      folder,
      ...[join(venv, 'bin/schemathesis'), 'run', `https://${admin}/openapi.json`],
      ...['--tls-verify', file('ca.crt')],
      ...['--request-cert', file('admin.crt'), '--request-cert-key', file('admin.key')],
      // Streams do not end. The certificate authenticates whatever a header says.
      ...['--exclude-path', '/api/v1/events', '--exclude-checks', 'ignored_auth'],
      ...['--phases', 'coverage,fuzzing', '--max-examples', '5'],
      ...['--seed', process.env.OPENAPI_SEED ?? String(Date.now() % 1_000_000)],
    );
    return /(\d+ generated.*)/.exec(said)?.[1];
  },

  'the gateway is alive': async () => {
    const { nodes } = JSON.parse(await get('/api/v1/info'));
    assert(nodes === 0, 'it has nodes that nobody connected');
    return undefined;
  },
});

async function get(path: string): Promise<string> {
  const read = (name: string) => readFileSync(join(folder, name));
  const outgoing = request(`https://${admin}${path}`, {
    ca: read('ca.crt'),
    cert: read('admin.crt'),
    key: read('admin.key'),
    agent: false,
  });
  outgoing.end();
  const [response] = await once(outgoing, 'response');
  return text(response);
}
