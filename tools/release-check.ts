/**
 * `npm run release:check`: builds and packs both packages, installs each tarball into empty folders as a user
 * would, and tries there what they promise: both commands, all imports, their types, a join. Tarballs and
 * SBOM are left in `.tmp/release`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { npmPack, type Packed } from './pack-sdk.ts';
import { checkTypes, type Hub, install, joinByImport, joinByRequire, sdkSteps } from './sdk-check.ts';
import { assert, run, runSteps, type Steps } from './steps.ts';

const out = resolve('.tmp/release');
const user = mkdtempSync(join(tmpdir(), 'sallyport-release-'));
const sdkUser = mkdtempSync(join(tmpdir(), 'sallyport-sdk-'));
const children: ChildProcess[] = [];
const bin = join(user, 'node_modules', '.bin', 'sallyport');

let packed: Packed;
let connection: readonly string[] = [];
let hub: Hub;

const steps: Steps = {
  build: () => void run('.', 'npm', 'run', '-s', 'build'),

  pack: () => {
    rmSync(out, { recursive: true, force: true });
    packed = npmPack('.', out);
    const paths = packed.files.map(({ path }) => path);
    for (const wanted of [
      'LICENSE',
      'README.md',
      'CHANGELOG.md',
      'package.json',
      'dist/main.js',
      'dist/admin/ui/index.html',
    ])
      assert(paths.includes(wanted), `${wanted} is not in the tarball`);
    const strange = paths.filter(
      (path) =>
        !/^(dist\/.*\.(js|d\.ts|js\.map)|dist\/admin\/ui\/\w+\.(html|css|svg)|[A-Z]+(\.md)?|package\.json)$/.test(
          path,
        ),
    );
    assert(strange.length === 0, `the tarball holds ${strange.slice(0, 3).join(', ')}`);
    return `${paths.length} files, ${Math.round(packed.unpackedSize / 1024)} KiB`;
  },

  'npm install, and npm ci from the lockfile it wrote': () => {
    writeFileSync(
      join(user, 'package.json'),
      JSON.stringify({ name: 'user-of-sallyport', version: '0.0.0', private: true, type: 'module' }),
    );
    install(user, join(out, packed.filename));
    assert(!existsSync(join(user, 'node_modules/@currentspace')), 'the QUIC library was installed unasked');
    assert(existsSync(bin), 'there is no command sallyport');
    return `${readdirSync(join(user, 'node_modules')).length} folders in node_modules`;
  },

  'bill of materials': () => {
    // Of what was installed: in the repository `--omit dev` also omits yaml, which a development tool may use
    // too (npm 11.19).
    const text = run(user, 'npm', 'sbom', '--sbom-format', 'cyclonedx');
    const { components } = JSON.parse(text) as { components: readonly { readonly name: string }[] };
    const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as {
      dependencies: Record<string, string>;
    };
    for (const name of Object.keys(dependencies))
      assert(
        components.some((component) => fullName(component) === name),
        `${name} is not in the bill`,
      );
    writeFileSync(join(out, packed.filename.replace(/\.tgz$/, '.sbom.json')), text);
    return `${components.length} components`;
  },

  'import sallyport and sallyport/sdk': () => {
    const script = `const [a, b] = await Promise.all([import('sallyport'), import('sallyport/sdk')]);
      console.log(typeof a.startGateway, typeof a.loadConfig, typeof b.EdgeClient, typeof b.WebSocketTransport);`;
    const said = run(user, process.execPath, '--input-type=module', '-e', script).trim();
    assert(said === 'function function function function', said);
    return undefined;
  },

  'types resolve and are checked': () => {
    const program = (token: string) => `import { type Gateway, loadConfig, startGateway } from 'sallyport';
import { createMessage, EdgeClient, type EdgeClientOptions, type EdgeEvents } from 'sallyport/sdk';
export const start: typeof startGateway = startGateway;
export const port: number = loadConfig().config.https.port;
export type Stop = Gateway['stop'];
export type Events = EdgeEvents;
const options: EdgeClientOptions = { node: 'edge-1', hub: { https: 'localhost:10002' }, directory: 'edge-1' };
export const join = (): Promise<EdgeClient> => EdgeClient.join({ ...options, token: ${token} });
export const message = createMessage;
`;
    return checkTypes(user, { 'program.ts': program("'x'") }, { 'program.ts': program('42') });
  },

  'sallyport serve --print-ready': async () => {
    const child = start(
      'serve',
      '--print-ready',
      ...settings({ 'https.port': '0', 'websocket.port': '0', 'admin.port': '0' }),
    );
    const ready = JSON.parse(await line(child, () => true)) as Record<
      'https' | 'websocket' | 'admin',
      string
    >;
    const port = (address: string) => address.split(':').pop()!;
    connection = settings({
      'https.port': port(ready.https),
      'websocket.port': port(ready.websocket),
      'admin.port': port(ready.admin),
    });
    const local = (address: string) => `localhost:${port(address)}`;
    hub = {
      https: local(ready.https),
      websocket: local(ready.websocket),
      token: (node) => run(user, bin, 'token', 'create', '--node', node, ...connection).trim(),
    };
    return `https ${ready.https}, websocket ${ready.websocket}`;
  },

  'sallyport edge run, and a message to it': async () => {
    const edge = start('edge', 'run', '--node', 'edge-1', '--token', hub.token('edge-1'), ...connection);
    const arrived = line(edge, (text) => text.includes('"hello"'));
    for (
      let left = 100;
      run(user, bin, 'nodes', 'list', '-o', 'name', ...connection).trim() !== 'node/edge-1';
      left--
    ) {
      assert(left > 0, 'the edge does not appear');
      await new Promise((done) => setTimeout(done, 200));
    }
    const message = ['--resource', 'app/hello', '--operation', 'update', '--content', '{"hello":1}', '--ack'];
    run(user, bin, 'send', 'edge-1', ...message, ...connection);
    return (await arrived).trim();
  },

  'sallyport/sdk joins, by import and by require': () => {
    joinByImport(user, 'sallyport/sdk', { hub });
    return joinByRequire(user, 'sallyport/sdk', { hub });
  },

  ...sdkSteps({ out, user: sdkUser, hub: () => hub }),

  'quic.enabled without its library is refused with the remedy': async () => {
    const child = start(
      'serve',
      ...settings({
        'https.port': '0',
        'websocket.port': '0',
        'admin.port': '0',
        'quic.port': '0',
        'quic.enabled': 'true',
      }),
    );
    let said = '';
    child.stderr!.on('data', (chunk) => {
      said += chunk;
    });
    const [code] = (await once(child, 'close')) as [number];
    assert(code !== 0 && said.includes('npm install @currentspace/http3'), said);
    return undefined;
  },

  'SIGTERM stops both': async () => {
    for (const child of children.splice(0).reverse()) {
      if (child.exitCode !== null) continue;
      const ended = once(child, 'close');
      child.kill('SIGTERM');
      const [code, signal] = (await ended) as [number | null, string | null];
      assert(code === 0, `it ended with ${signal ?? code}`);
    }
    return undefined;
  },
};

function settings(all: Readonly<Record<string, string>>): string[] {
  return Object.entries({ ...all, 'secretStore.path': 'secrets' }).flatMap(([path, value]) => [
    '--set',
    `${path}=${value}`,
  ]);
}

function start(...args: readonly string[]): ChildProcess {
  const child = spawn(bin, args, { cwd: user, stdio: ['pipe', 'pipe', 'pipe'] });
  children.push(child);
  return child;
}

/** The first line on standard output that fits. @throws what the process said when it ends before */
function line(child: ChildProcess, fits: (text: string) => boolean): Promise<string> {
  let said = '';
  child.stderr!.on('data', (chunk) => {
    said += chunk;
  });
  return new Promise((done, fail) => {
    createInterface({ input: child.stdout! }).on('line', (text) => fits(text) && done(text));
    child.once('close', (code) => fail(new Error(`it ended with ${code}: ${said}`)));
    setTimeout(() => fail(new Error(`nothing within 60 s: ${said}`)), 60_000).unref();
  });
}

function fullName(component: { readonly name: string; readonly group?: string }): string {
  return component.group ? `${component.group}/${component.name}` : component.name;
}

try {
  await runSteps('release:check', steps);
} finally {
  for (const child of children) child.kill('SIGKILL');
  for (const folder of [user, sdkUser]) rmSync(folder, { recursive: true, force: true });
}
