/**
 * `node tools/pack-sdk.ts [FOLDER]`: builds `@sallyport/sdk` and packs it into the folder (default
 * `.tmp/release`). The package is `src/sdk` and what it imports, nothing else: there is no second copy of
 * anything, and its dependencies are read from the imports of what was built.
 */
import { cpSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { OLDEST_NODE } from '../src/sdk/supported-node.ts';
import { run } from './steps.ts';

export const SDK_PACKAGE = '@sallyport/sdk';

export interface Packed {
  readonly filename: string;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string }[];
}

interface Manifest {
  readonly version: string;
  readonly license: string;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
}

/** `npm pack` of a folder. @param out where the tarball goes; an absolute path */
export function npmPack(folder: string, out: string): Packed {
  mkdirSync(out, { recursive: true });
  // Version 12 of npm prints an object by name, earlier ones a list.
  const answer = JSON.parse(run(folder, 'npm', 'pack', '--json', '--pack-destination', out)) as Record<
    string,
    Packed
  >;
  return Object.values(answer)[0]!;
}

/** @param out where the tarball goes; an absolute path */
export function packSdk(out: string): Packed {
  const folder = resolve('.tmp/sdk');
  rmSync(folder, { recursive: true, force: true });
  run('.', 'node_modules/.bin/tsc', '-p', 'tsconfig.sdk.json');
  cpSync('LICENSE', join(folder, 'LICENSE'));
  writeFileSync(join(folder, 'README.md'), readme());
  writeFileSync(join(folder, 'require.cjs'), requireOnly());
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifestOf(folder), null, 2)}\n`);
  return npmPack(folder, out);
}

function manifestOf(folder: string) {
  const root = JSON.parse(readFileSync('package.json', 'utf8')) as Manifest;
  const rangeOf = (name: string) => {
    const range = root.dependencies[name] ?? root.peerDependencies[name];
    if (range === undefined) throw new Error(`the SDK imports ${name}, which package.json does not name`);
    return [name, range] as const;
  };
  const code = globSync(join(folder, 'dist/**/*.js')).map((file) => readFileSync(file, 'utf8'));
  const imported = (pattern: RegExp) => [
    ...new Set(code.flatMap((text) => [...text.matchAll(pattern)].map(([, name]) => name!))),
  ];
  const needed = imported(/(?: from|^import) '((?:@[\w-]+\/)?[a-z][\w.-]*)(?:\/[^']*)?';$/gm);
  // What is imported when it is first wanted is left to those who want it.
  const wanted = imported(/import\('((?:@[\w-]+\/)?[a-z][\w.-]*)'\)/g);
  return {
    name: SDK_PACKAGE,
    version: root.version,
    description: 'Edge SDK of Sallyport: join, stay connected, send, receive, renew',
    license: root.license,
    type: 'module',
    engines: { node: `>=${OLDEST_NODE}` },
    exports: {
      './package.json': './package.json',
      '.': {
        types: './dist/sdk/index.d.ts',
        // Node that can `require` modules names itself so, whichever way it was asked.
        'module-sync': './dist/sdk/index.js',
        import: './dist/sdk/index.js',
        require: './require.cjs',
      },
    },
    files: ['dist', 'require.cjs'],
    dependencies: Object.fromEntries(needed.map(rangeOf)),
    peerDependencies: Object.fromEntries(wanted.map(rangeOf)),
    peerDependenciesMeta: Object.fromEntries(wanted.map((name) => [name, { optional: true }])),
  };
}

/** What `require` finds where it cannot load a module: on an old Node, and in tools that do it themselves. */
function requireOnly(): string {
  return `'use strict';
throw new Error(
  'the Sallyport SDK needs Node ${OLDEST_NODE} or newer, and this is Node ' + process.versions.node +
    ': install a newer one; in a tool that cannot require() ES modules use await import("${SDK_PACKAGE}")',
);
`;
}

/** docs/sdk.md; links into the repository, which the package does not have, become plain words. */
function readme(): string {
  return readFileSync('docs/sdk.md', 'utf8').replace(/\[([^\]]+)\]\((?!https?:|#)[^)]+\)/g, '$1');
}

if (import.meta.main) {
  const packed = packSdk(resolve(process.argv[2] ?? '.tmp/release'));
  process.stdout.write(
    `${packed.filename}: ${packed.files.length} files, ${Math.round(packed.unpackedSize / 1024)} KiB\n`,
  );
}
