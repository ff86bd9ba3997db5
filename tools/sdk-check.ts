/** The part of `npm run release:check` that is about programs on edge nodes. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { OLDEST_NODE } from '../src/sdk/supported-node.ts';
import { type Packed, packSdk, SDK_PACKAGE } from './pack-sdk.ts';
import { assert, run, type Steps } from './steps.ts';

/** What an edge author is promised (issue: an SDK of 5 MB instead of 137). */
const MAX_BYTES = 8 * 1024 * 1024;
const MAX_PACKAGES = 6;
/** A line of Node that its own project still maintained when the SDK began to refuse it. */
const TOO_OLD_NODE = '20.19.0';

export interface Hub {
  readonly https: string;
  readonly websocket: string;
  token(node: string): string;
}

export interface SdkCheck {
  /** Where the tarball goes. */
  readonly out: string;
  /** An empty folder, for a user of the SDK alone: nothing above it may hold packages. */
  readonly user: string;
  /** Asked when a program is to join it. */
  readonly hub: () => Hub;
}

export function sdkSteps({ out, user, hub }: SdkCheck): Steps {
  let packed: Packed;
  return {
    [`pack ${SDK_PACKAGE}`]: () => {
      packed = packSdk(out);
      const strange = packed.files.filter(
        ({ path }) =>
          !/^(dist\/(sdk|core|protocol)\/.*\.(js|d\.ts|js\.map)|require\.cjs|LICENSE|README\.md|package\.json)$/.test(
            path,
          ),
      );
      assert(strange.length === 0, `the tarball holds ${strange[0]?.path}`);
      return `${packed.files.length} files, ${Math.round(packed.unpackedSize / 1024)} KiB`;
    },

    [`npm install ${SDK_PACKAGE}: at most ${MAX_PACKAGES} packages and ${MAX_BYTES / 1024 / 1024} MiB`]:
      () => {
        writeFileSync(join(user, 'package.json'), JSON.stringify({ name: 'user-of-sdk', private: true }));
        install(user, join(out, packed.filename));
        const modules = join(user, 'node_modules');
        const lock = JSON.parse(readFileSync(join(modules, '.package-lock.json'), 'utf8')) as {
          packages: Record<string, unknown>;
        };
        const names = Object.keys(lock.packages).map((path) => path.replace('node_modules/', ''));
        const bytes = readdirSync(modules, { recursive: true, encoding: 'utf8' })
          .map((path) => statSync(join(modules, path)))
          .reduce((sum, file) => sum + (file.isFile() ? file.size : 0), 0);
        const found = `${names.length} packages (${names.join(', ')}), ${(bytes / 1024 / 1024).toFixed(1)} MiB`;
        assert(names.length <= MAX_PACKAGES && bytes <= MAX_BYTES, found);
        return found;
      },

    [`${SDK_PACKAGE}: its types, as a module and as CommonJS, with skipLibCheck off`]: () => {
      const program = (
        token: string,
      ) => `import { EdgeClient, type EdgeClientOptions, type EdgeEvents, Message } from '${SDK_PACKAGE}';
const options: EdgeClientOptions = { node: 'edge-1', hub: { https: 'localhost:10002' }, directory: 'edge-1' };
export type Reason = EdgeEvents['disconnected']['reason'];
export const join = (): Promise<EdgeClient> => EdgeClient.join({ ...options, token: ${token} });
export const isMessage = (value: unknown): boolean => value instanceof Message;
`;
      const programs = (token: string) => ({ 'program.mts': program(token), 'program.cts': program(token) });
      const shown = readFileSync('docs/sdk.md', 'utf8').matchAll(/^```ts\n([\s\S]*?)^```$/gm);
      const documented = { 'documented.mts': [...shown].map(([, code]) => code).join('\n') };
      return checkTypes(user, { ...programs("'x'"), ...documented }, programs('42'));
    },

    [`${SDK_PACKAGE} joins, by import and by require, on this Node and on ${OLDEST_NODE}`]: () => {
      for (const node of [process.execPath, nodeOf(OLDEST_NODE)]) {
        joinByImport(user, SDK_PACKAGE, { hub: hub(), node });
        joinByRequire(user, SDK_PACKAGE, { hub: hub(), node });
      }
      return undefined;
    },

    [`${SDK_PACKAGE} on Node ${TOO_OLD_NODE} says which it needs`]: () => {
      let said = '';
      for (const script of [`import('${SDK_PACKAGE}')`, `require('${SDK_PACKAGE}')`]) {
        const { status, stderr } = spawnSync(nodeOf(TOO_OLD_NODE), ['-e', script], {
          cwd: user,
          encoding: 'utf8',
        });
        said = /^Error: (.*)$/m.exec(stderr)?.[1] ?? stderr;
        assert(status !== 0 && said.includes(`needs Node ${OLDEST_NODE} or newer`), said);
      }
      return said;
    },

    [`${SDK_PACKAGE}: a stack leads to the line of the source`]: () => {
      const script = `require('${SDK_PACKAGE}').EdgeClient.open({ node: 'a', directory: 'none', hub: { https: 'x:1' } })
        .catch((error) => console.log(error.stack));`;
      const stack = run(user, process.execPath, '--enable-source-maps', '-e', script);
      const [, file, line] = /\((?:[^)]*\/)?(src\/sdk\/[\w-]+\.ts):(\d+):\d+\)/.exec(stack) ?? [];
      assert(file !== undefined, stack);
      const source = readFileSync(file, 'utf8').split('\n')[Number(line) - 1]!;
      assert(source.includes("SallyportError('NOT_JOINED'"), `${file}:${line} is ${source}`);
      return `${file}:${line}`;
    },
  };
}

/** `npm install`, and `npm ci` from the lockfile it wrote. */
export function install(folder: string, ...what: readonly string[]): void {
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  run(folder, 'npm', 'install', ...quiet, ...what);
  run(folder, 'npm', 'ci', ...quiet);
}

/**
 * Compiles `good`, strictly and without `skipLibCheck`, and sees that `bad` is refused. Files by their names.
 */
export function checkTypes(
  folder: string,
  good: Readonly<Record<string, string>>,
  bad: Readonly<Record<string, string>>,
): undefined {
  const compilerOptions = {
    target: 'es2024',
    lib: ['es2024', 'esnext.disposable'],
    module: 'nodenext',
    strict: true,
    skipLibCheck: false,
    noEmit: true,
    types: ['node'],
    typeRoots: [resolve('node_modules/@types')],
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: Object.keys(good) }));
  const problems = (files: Readonly<Record<string, string>>) => {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    return spawnSync(resolve('node_modules/.bin/tsc'), ['-p', 'tsconfig.json'], {
      cwd: folder,
      encoding: 'utf8',
    }).stdout;
  };
  const found = problems(good);
  assert(found === '', found);
  const refused = problems(bad);
  for (const name of Object.keys(bad))
    assert(refused.includes(`${name}(`), `a number was taken as a token in ${name}: the types are not there`);
  return undefined;
}

export interface Joining {
  readonly hub: Hub;
  /** The program that runs it. */
  readonly node?: string;
}

export const joinByImport = (folder: string, name: string, joining: Joining) =>
  joinHub(folder, { file: 'join.mjs', load: `await import('${name}')`, ...joining });

export const joinByRequire = (folder: string, name: string, joining: Joining) =>
  joinHub(folder, { file: 'join.cjs', load: `require('${name}')`, ...joining });

let joined = 0;

function joinHub(
  folder: string,
  { file, load, hub, node = process.execPath }: Joining & { file: string; load: string },
): undefined {
  writeFileSync(
    join(folder, file),
    `(async () => {
  const { EdgeClient } = ${load};
  const [node, token, https, websocket] = process.argv.slice(2);
  const client = await EdgeClient.join({ node, token, directory: node, hub: { https, websocket } });
  await client.connect();
  await client.send({ resource: 'app/hello', operation: 'update', content: { from: node } });
  await client.close();
  console.log('acknowledged');
})();
`,
  );
  const name = `author-${++joined}`;
  const said = execFileSync(node, [file, name, hub.token(name), hub.https, hub.websocket], {
    cwd: folder,
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert(said.trim() === 'acknowledged', said);
  return undefined;
}

/** The binary of a version of Node, from npm; kept in `.tmp`. */
function nodeOf(version: string): string {
  const folder = resolve('.tmp/node', version);
  const binary = join(folder, 'node_modules/node/bin/node');
  if (statSync(binary, { throwIfNoEntry: false })) return binary;
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({ private: true, dependencies: { node: version }, allowScripts: { node: true } }),
  );
  run(folder, 'npm', 'install', '--no-audit', '--no-fund', '--loglevel=error');
  return binary;
}
