/**
 * Writes docs/requirements.md: which test files prove which requirement, read from the names of the tests.
 * `--check` writes nothing and fails when the page is out of date or a requirement has no test.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { REQUIREMENTS } from './requirement-list.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const page = join(root, 'docs/requirements.md');
/** A test or a group of tests begins its name with the identifiers and a colon: `A2, A3: what …`. */
const NAMED = /(['"`])([A-RU-W]\d{1,2}(?:, [A-RU-W]\d{1,2})*): /g;

/** Identifier → test files whose names carry it, relative to the project. */
export function findProofs(): ReadonlyMap<string, ReadonlySet<string>> {
  const proofs = new Map<string, Set<string>>();
  const files = readdirSync(join(root, 'test'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(test|contract)\.ts$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  for (const file of files) {
    for (const [, , identifiers] of readFileSync(file, 'utf8').matchAll(NAMED)) {
      for (const identifier of identifiers!.split(', ')) {
        const found = proofs.get(identifier) ?? new Set();
        proofs.set(identifier, found.add(relative(root, file)));
      }
    }
  }
  return proofs;
}

/** What is wrong: promises without a test and without a reason. */
export function unproven(proofs = findProofs()): readonly string[] {
  return Object.entries(REQUIREMENTS)
    .filter(([identifier, entry]) => typeof entry === 'string' && !proofs.has(identifier))
    .map(([identifier]) => identifier);
}

export function renderPage(proofs = findProofs()): string {
  const whole = (file: string) => /^test\/(integration|stories)\//.test(file);
  const cell = (files: readonly string[]) =>
    files.map((file) => `[${file.replace(/^test\//, '')}](../${file})`).join('<br>');
  const rows = Object.entries(REQUIREMENTS).map(([identifier, entry]) => {
    const files = [...(proofs.get(identifier) ?? [])];
    const what = typeof entry === 'string' ? entry : `${entry.what}. No test: ${entry.untested}`;
    return `| ${identifier} | ${what} | ${cell(files.filter(whole))} | ${cell(files.filter((file) => !whole(file)))} |`;
  });
  return `${[
    '# What proves what',
    '',
    'Identifiers stand at the beginning of test names. This page is written by `npm run requirements`; a test',
    'fails when it is out of date, or when a promise has no test that names it.',
    '',
    '| ID | promise | on whole gateways | on parts |',
    '| --- | --- | --- | --- |',
    ...rows,
  ].join('\n')}\n`;
}

export const storedPage = (): string => readFileSync(page, 'utf8');

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const missing = unproven();
  for (const identifier of missing) process.stderr.write(`${identifier} has no test that names it\n`);
  if (process.argv.includes('--check')) {
    if (storedPage() !== renderPage()) {
      process.stderr.write('docs/requirements.md is out of date; run `npm run requirements`\n');
      process.exitCode = 1;
    }
  } else writeFileSync(page, renderPage());
  if (missing.length > 0) process.exitCode = 1;
}
