import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { beforeAll, describe, expect, test } from 'vitest';
import { createProgram } from '../../src/cli/program.ts';
import { Terminal } from '../../src/cli/terminal.ts';
import { listSettings } from '../../src/config/settings.ts';
import { namedCommands, sallyportWords, shellBlocks, strayCommands } from '../../tools/document-commands.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

type Program = Awaited<ReturnType<typeof createProgram>>;
type Check = (documents: ReturnType<typeof readDocuments>) => Promise<readonly string[]> | readonly string[];

const readDocuments = (pages?: readonly string[]) => ({
  blocks: shellBlocks(pages),
  named: namedCommands(pages),
  stray: strayCommands(pages),
});

const read = (file: string) => readFileSync(file, 'utf8');
const { scripts } = JSON.parse(read('package.json')) as { scripts: Readonly<Record<string, string>> };
const chart = JSON.parse(read('deploy/helm/sallyport/values.schema.json')) as object;
const settings = new Set(listSettings().map(({ path }) => path));

let program: Program;
beforeAll(async () => {
  const nowhere = () => new Writable({ write: (_chunk, _encoding, done) => done() });
  program = await createProgram(
    new Terminal({
      stdin: Readable.from([]),
      stdout: nowhere(),
      stderr: nowhere(),
      env: {},
      interrupted: () => new AbortController().signal,
    }),
  );
  onlyParse(program);
});

function onlyParse(command: Program): void {
  command.exitOverride().configureOutput({ writeOut: () => {}, writeErr: () => {} });
  if (command.commands.length === 0) command.action(() => {});
  for (const child of command.commands) onlyParse(child);
}

/** Name → finds what is wrong. */
const CHECKS = {
  'each block of shell says what runs it, or why nothing does': ({ blocks }) =>
    blocks
      .filter(({ runBy, whyNot }) => !runBy && !whyNot)
      .map(({ at }) => `${at}: write <!-- run by FILE --> or <!-- not run: WHY --> before it`),

  'commands stand in blocks of shell': ({ stray }) => stray,

  'what runs a block reads its page': ({ blocks }) =>
    blocks
      .filter(({ runBy, page }) => runBy && !(existsSync(runBy) && read(runBy).includes(page)))
      .map(({ at, runBy }) => `${at}: ${runBy} does not read it`),

  'the program takes each command line': async ({ blocks }) => {
    const problems: string[] = [];
    for (const { at, commands } of blocks)
      for (const words of commands.map(sallyportWords).filter((one) => one !== undefined)) {
        const wrong = await problemOf(words);
        if (wrong) problems.push(`${at}: sallyport ${words.join(' ')}: ${wrong}`);
      }
    return problems;
  },

  'npm has each script, Helm each value': ({ blocks }) =>
    blocks.flatMap(({ at, commands }) =>
      commands.map(problemOfOther).flatMap((problem) => (problem ? [`${at}: ${problem}`] : [])),
    ),

  'the program has each command and option that a sentence names': ({ named }) =>
    named.flatMap(({ at, text }) =>
      text.split(' && ').flatMap((one) => {
        const words = one.split(/\s+/);
        const ours = sallyportWords(words);
        const problem = ours ? problemOfNamed(ours) : problemOfOther(words);
        return problem ? [`${at}: ${text}: ${problem}`] : [];
      }),
    ),
} satisfies Readonly<Record<string, Check>>;

async function problemOf(words: readonly string[]): Promise<string | undefined> {
  const unknown = words.filter((_, index) => words[index - 1] === '--set').find((one) => !isSetting(one));
  if (unknown) return `there is no setting ${unknown}`;
  try {
    await program.parseAsync([...words], { from: 'user' });
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

const isSetting = (assignment: string) => settings.has(assignment.split('=')[0]!);

function problemOfOther(words: readonly string[]): string | undefined {
  const [name, ...rest] = words;
  const script = rest.filter((word) => !word.startsWith('-'))[1];
  if (name === 'npm' && rest[0] === 'run' && !scripts[script!]) return `there is no script ${script}`;
  if (name === 'npm' && ['start', 'test'].includes(rest[0]!) && !scripts[rest[0]!])
    return `there is no script ${rest[0]}`;
  const value = rest.find((word, index) => rest[index - 1] === '--set' && !isChartValue(word));
  return name === 'helm' && value ? `the chart has no value ${value}` : undefined;
}

function isChartValue(assignment: string): boolean {
  const path = assignment.split('=')[0]!.split('.');
  return path.reduce<unknown>((node, key) => Object(Object(node).properties)[key], chart) !== undefined;
}

/** Follows the words through the program until one has to be replaced by the reader. */
function problemOfNamed(words: readonly string[]): string | undefined {
  let command = program;
  for (const word of words) {
    if (word.startsWith('-')) {
      const name = word.split('=')[0]!;
      if (
        ![...program.options, ...command.options].some(
          ({ short, long }) => name === short || name === long,
        ) &&
        !['--help', '-h'].includes(name)
      )
        return `there is no option ${name}`;
    } else if (command.commands.length > 0 && !/^[A-Z…<[]/.test(word)) {
      const found = word.split('|').map((one) => command.commands.find((child) => child.name() === one));
      if (found.includes(undefined)) return `there is no command ${word}`;
      command = found[0]!;
    }
  }
  return undefined;
}

describe('the commands of the documents', () => {
  const documents = readDocuments();
  test.each(Object.entries<Check>(CHECKS))('V7: %s', async (_name, check) => {
    expect(await check(documents)).toEqual([]);
  });
});

describe('the checks of the documents', () => {
  let folder: string;
  beforeAll(() => {
    folder = temporaryFolder();
  });

  const shell = (...lines: string[]) => ['```sh', ...lines, '```'].join('\n');
  test.each<[keyof typeof CHECKS, string, RegExp]>([
    ['each block of shell says what runs it, or why nothing does', shell('echo'), /:1: write <!-- run by/],
    [
      'each block of shell says what runs it, or why nothing does',
      `- a list\n\n  ${shell('echo', '  ').replaceAll('\n', '\n  ')}`,
      /:3: /,
    ],
    ['commands stand in blocks of shell', 'Look:\n\n    sallyport nodes list', /:3: sallyport nodes list/],
    [
      'what runs a block reads its page',
      `<!-- run by .ci/smoke -->\n${shell('echo')}`,
      /:2: .ci\/smoke does not/,
    ],
    ['the program takes each command line', shell('sallyport nodes list --colour'), /unknown option/],
    [
      'the program takes each command line',
      shell('token="$(npm run -s sallyport -- token make)"'),
      /unknown command/,
    ],
    [
      'the program takes each command line',
      shell('kubectl exec x -- sallyport \\', '  send'),
      /required option/,
    ],
    ['the program takes each command line', shell('sallyport health --set a.b=1 | cat'), /no setting a.b/],
    ['npm has each script, Helm each value', shell('npm run -s nonsense'), /no script nonsense/],
    [
      'npm has each script, Helm each value',
      shell("helm install x y --set 'image.colour=red'"),
      /image.colour/,
    ],
    [
      'the program has each command and option that a sentence names',
      '`sallyport ca rollover prepare|undo`',
      /undo/,
    ],
    [
      'the program has each command and option that a sentence names',
      '`sallyport revoke NODE --why X`',
      /--why/,
    ],
    [
      'the program has each command and option that a sentence names',
      '`npm run build && npm run nonsense`',
      /nonsense/,
    ],
  ])('find what is wrong: %s', async (name, text, problem) => {
    const page = join(folder, 'page.md');
    writeFileSync(page, `${text}\n`);
    expect(await CHECKS[name](readDocuments([page]))).toEqual([expect.stringMatching(problem)]);
  });
});
