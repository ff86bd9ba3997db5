import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';

const pages = globSync(['*.md', 'docs/**/*.md', 'certs-dev/*.md', '{examples,deploy,test}/**/*.md']);
const sources = globSync('{src,test,bench,tools,examples}/**/*.{ts,js}');
/** Names of all files, for those that a page or comment names without their folder. */
const names = new Set(
  [...sources, ...pages, ...globSync(['*.{ts,json,yml}', 'deploy/**/*.{yaml,json}', 'tools/*'])].map(
    (file) => file.split('/').at(-1)!,
  ),
);
const rooms = globSync('src/*/').map((folder) => folder.split('/')[1]!);
const folders = ['src', 'test', 'docs', 'tools', 'bench', 'deploy', 'examples', ...rooms];
/** Not ours: an API group of Kubernetes and a Deployment look like paths. */
const foreign = new Set(['core/v1', 'deploy/sallyport']);

describe('what documents and comments point at is there', () => {
  test('files and folders that a page names', () => {
    expect(pages.flatMap((page) => missingPaths(page, () => true))).toEqual([]);
  });

  test('files and folders that a comment names', () => {
    const isComment = (line: string) => /^\s*(\*|\/\/|\/\*)/.test(line) && !/import\(|@import/.test(line);
    expect(sources.flatMap((file) => missingPaths(file, isComment))).toEqual([]);
  });

  test('pages and headings that a page links to', () => {
    const wrong = pages.flatMap((page) =>
      [...read(page).matchAll(/\]\(([^)\s]+)\)/g)]
        .map(([, target]) => target!)
        .filter((target) => !/^[a-z]+:/.test(target))
        .filter((target) => {
          const [path, anchor] = target.split('#');
          const file = path ? join(dirname(page), path) : page;
          return !existsSync(file) || (anchor !== undefined && !anchorsOf(file).has(anchor));
        })
        .map((target) => `${page}: ${target}`),
    );
    expect(wrong).toEqual([]);
  });
});

function missingPaths(file: string, isLooked: (line: string) => boolean): string[] {
  return read(file)
    .split('\n')
    .filter(isLooked)
    .flatMap((line) => [...named(line)].map((path) => ({ line, path })))
    .filter(({ path }) => !foreign.has(path) && !isThere(file, path))
    .map(({ path }) => `${file}: ${path}`);
}

/** Paths that begin with a folder of ours, and bare names of TypeScript files. */
function* named(line: string): Generator<string> {
  const path = new RegExp(`(?<![\\w/.@:-])(?:\\./)?((?:${folders.join('|')})/[\\w./{},*-]*)`, 'g');
  for (const [, found] of line.matchAll(path)) yield found!.replace(/[.,]+$/, '');
  for (const [, found] of line.matchAll(/(?<![\w/.-])([a-z][\w-]*\.(?:test\.)?ts)\b/g)) yield found!;
}

function isThere(file: string, path: string): boolean {
  if (!path.includes('/')) return names.has(path);
  return [path, join('src', path), join('test', path), join(dirname(file), path)].some((one) =>
    /[{*]/.test(one) ? globSync(one).length > 0 : existsSync(one),
  );
}

/** As GitHub makes them: lower case, without punctuation, dashes for spaces. */
function anchorsOf(page: string): Set<string> {
  const headings = [...read(page).matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading!);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

function read(file: string): string {
  return readFileSync(file, 'utf8');
}

describe('version and changelog', () => {
  const changelog = read('CHANGELOG.md');
  const released = [...changelog.matchAll(/^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$/gm)];

  test('the package has the version that the changelog released last, until the next release', () => {
    const { version } = JSON.parse(read('package.json')) as { version: string };
    const { packages } = JSON.parse(read('package-lock.json')) as {
      packages: Record<string, { version: string }>;
    };
    expect(released[0]![1]).toBe(version);
    expect(packages['']!.version).toBe(version);
  });

  test('what is not released yet stands first, and releases have dates, the newest above', () => {
    const headings = changelog.match(/^## .*$/gm)!;
    expect(headings[0]).toBe('## [Unreleased]');
    expect(headings.slice(1)).toEqual(released.map(([heading]) => heading));
    const dates = released.map(([, , date]) => date!);
    expect(dates).toEqual([...dates].sort().reverse());
  });
});
