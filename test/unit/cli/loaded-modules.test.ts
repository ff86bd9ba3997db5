import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { settingsOf } from '../../../src/config/settings.ts';

/** Prints every file that is loaded, a line each, at the end. */
const TELL = `
import { registerHooks } from 'node:module';
const loaded = [];
registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) });
process.on('exit', () => process.stderr.write(loaded.join('\\n')));
`;

/** The packages and our own files that a command line loads. */
async function loadedBy(...words: readonly string[]): Promise<{ libraries: string[]; own: string[] }> {
  const hook = `data:text/javascript,${encodeURIComponent(TELL)}`;
  const run = promisify(execFile)(process.execPath, ['--import', hook, 'src/main.ts', ...words]);
  const { stderr } = await run.catch((error: { stderr: string }) => error);
  const files = stderr.split('\n').filter((line) => line.startsWith('file:'));
  const libraries = files.map((file) => /\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1]);
  return {
    libraries: [...new Set(libraries.filter((name) => name !== undefined))].sort(),
    own: files.flatMap((file) => /\/(src\/.*)/.exec(file)?.[1] ?? []),
  };
}

test('L7: --version loads neither configuration nor commands', async () => {
  const { libraries, own } = await loadedBy('--version');
  expect(libraries).toEqual(['commander']);
  expect(own.filter((file) => /config|commands|admin-client/.test(file))).toEqual([]);
  expect(own).toContain('src/core/version.ts');
});

test('L7: a command loads itself and what it uses: no YAML, log or X.509 to list nodes', async () => {
  const { libraries, own } = await loadedBy('--admin', 'localhost:1', 'nodes', 'list');
  expect(libraries).toEqual(['commander', 'zod']);
  expect(own.filter((file) => file.includes('/commands/'))).toEqual([
    'src/cli/commands/nodes.ts',
    'src/cli/commands/nodes-rejected.ts',
  ]);
  // Nor what makes a body, and what reads a kubeconfig.
  const needless = /protocol\/content|bearer|kube|log\.ts|metrics|\/(certs\/x509|gateway)\//;
  expect(own.filter((file) => needless.test(file))).toEqual([]);
});

/** Prints the descriptions of the settings that are built, before and after a section is read. */
const BUILT = `
import { globalRegistry } from './src/core/zod.ts';
const built = [];
const add = globalRegistry.add;
globalRegistry.add = (schema, meta) => (built.push(meta.description), add.call(globalRegistry, schema, meta));
const { loadConfig } = await import('./src/config/load.ts');
const { config } = loadConfig({ flags: { 'secretStore.path': 'x' }, env: { SALLYPORT_LOG_LEVEL: 'warn' } });
const loaded = [...built];
console.log(JSON.stringify({ loaded, port: config.admin.port, read: built.slice(loaded.length) }));
`;

test('L7: only settings of sections that somebody sets or reads are built', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', BUILT]);
  const descriptions = (...names: Parameters<typeof settingsOf>[0][]) =>
    names.flatMap(settingsOf).map(({ description }) => description);
  expect(JSON.parse(stdout)).toEqual({
    loaded: descriptions('secretStore', 'log'),
    port: 10_010,
    read: descriptions('admin'),
  });
});
