/**
 * `npm run openapi:check`: starts a gateway and holds it against its own OpenAPI document. A client generated
 * by openapi-typescript is built and used (examples/typed-client); schemathesis sends what the document
 * allows, and what it does not. Both are installed into a temporary folder; schemathesis needs Python.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';

const SCHEMATHESIS = 'schemathesis>=4.32,<5';
/** What has a default may be left out of a request. */
const OPTIONAL = ['--default-non-nullable', 'false'];
const folder = mkdtempSync(join(tmpdir(), 'sallyport-openapi-'));
const secrets = join(folder, 'secrets');
const client = join(folder, 'client');
const run = (cwd: string, command: string, ...args: readonly string[]) =>
  execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });

let gateway: ChildProcess | undefined;
let admin = '';

/** In order; each throws what is wrong, and may say what it found. */
const steps: Readonly<Record<string, () => Promise<string | undefined>>> = {
  'a gateway': async () => {
    const settings = { 'https.port': 0, 'websocket.port': 0, 'admin.port': 0, 'secretStore.path': secrets };
    const flags = Object.entries(settings).flatMap(([path, value]) => ['--set', `${path}=${value}`]);
    gateway = spawn(process.execPath, ['src/main.ts', 'serve', '--print-ready', ...flags], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [line] = await once(createInterface({ input: gateway.stdout! }), 'line');
    admin = JSON.parse(line).admin.replace(/^.*:/, 'localhost:');
    return admin;
  },

  'a client made by openapi-typescript compiles and works': async () => {
    cpSync('examples/typed-client', client, { recursive: true });
    run(client, 'npm', 'install', '--no-audit', '--no-fund', '--loglevel=error');
    writeFileSync(join(client, 'openapi.json'), await get('/openapi.json'));
    run(client, 'npx', 'openapi-typescript', 'openapi.json', '-o', 'admin-api.d.ts', ...OPTIONAL);
    run(client, 'npm', 'run', '-s', 'build');
    const said = run(client, process.execPath, 'dist/client.js', admin, secrets, 'edge-1').trim();
    assert(said === '0 nodes are connected\nnobody: NODE_NOT_FOUND\nqueued\nqueued', said);
    return undefined;
  },

  'schemathesis finds nothing': async () => {
    const venv = join(folder, 'venv');
    run(folder, 'python3', '-m', 'venv', venv);
    run(folder, join(venv, 'bin/pip'), 'install', '--quiet', '--disable-pip-version-check', SCHEMATHESIS);
    const file = (name: string) => join(secrets, name);
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
    assert(nodes === 0 && gateway!.exitCode === null, 'it is not');
    return undefined;
  },
};

async function get(path: string): Promise<string> {
  const read = (name: string) => readFileSync(join(secrets, name));
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

function assert(condition: boolean, problem: string): asserts condition {
  if (!condition) throw new Error(problem);
}

let passed = 0;
let failed = 0;
for (const [name, step] of Object.entries(steps)) {
  try {
    const found = await step();
    passed++;
    process.stdout.write(`ok    ${name}${found ? `: ${found}` : ''}\n`);
  } catch (error) {
    failed++;
    const said = (error as { stdout?: string }).stdout ?? '';
    process.stdout.write(`${said}\nFAIL  ${name}: ${error instanceof Error ? error.message : error}\n`);
    if (!gateway || admin === '') break;
  }
}
if (gateway?.kill()) await once(gateway, 'exit');
rmSync(folder, { recursive: true, force: true });
process.stdout.write(`openapi:check ${passed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 ? 0 : 1;
