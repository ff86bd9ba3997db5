/**
 * The commands of the documents. Before each block of shell stands a note: `<!-- run by FILE -->` when FILE
 * reads the page and runs the block as it stands, else `<!-- not run: WHY -->`. In either case a test holds
 * what is ours against the program, the package and the chart (test/unit/document-commands.test.ts).
 */

import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

/** All but the changelog, which names the commands of its time. */
export const PAGES = globSync(['*.md', 'docs/**/*.md', '{certs-dev,examples,deploy,test}/**/*.md']).filter(
  (page) => page !== 'CHANGELOG.md',
);

export interface ShellBlock {
  readonly page: string;
  /** `docs/audit.md:51`. */
  readonly at: string;
  readonly runBy?: string;
  readonly whyNot?: string;
  /** Programs with their arguments, in the order in which a shell would start them. */
  readonly commands: readonly (readonly string[])[];
}

export function shellBlocks(pages: readonly string[] = PAGES): readonly ShellBlock[] {
  const block =
    /(?:^ *<!-- (?:run by (?<runBy>\S+)|not run: (?<whyNot>.+)) -->\n+)?^(?<indent> *)```(?:sh|bash|shell|console)\n(?<text>[\s\S]*?)^\k<indent>```$/gm;
  const found = pages.flatMap((page) =>
    [...readFileSync(page, 'utf8').matchAll(block)].map(({ 0: whole, index, input, groups }) => {
      const { runBy, whyNot, text } = groups!;
      const line = input.slice(0, index + whole.indexOf('```')).split('\n').length;
      const note = { ...(runBy ? { runBy } : {}), ...(whyNot ? { whyNot } : {}) };
      return { page, at: `${page}:${line}`, text: text!, ...note };
    }),
  );
  const commands = commandsOf(found.map(({ text }) => text));
  return found.map(({ text: _, ...rest }, index) => ({ ...rest, commands: commands[index]! }));
}

/** Lines that look like commands and stand in no block of shell, where the checks would not find them. */
export function strayCommands(pages: readonly string[] = PAGES): readonly string[] {
  const looksLikeOne = /^\s*(?:\$ )?(?:sallyport|npm|npx|helm|kubectl|docker) [-a-z]/;
  return linesOutside(/^( *)```(?:sh|bash|shell|console)\n[\s\S]*?^\1```$/gm, pages)
    .filter(({ line }) => looksLikeOne.test(line))
    .map(({ at, line }) => `${at}: ${line.trim()}`);
}

/** Commands of ours between backticks in a sentence or a table: shortened ones, with words to be replaced. */
export function namedCommands(pages: readonly string[] = PAGES): readonly { at: string; text: string }[] {
  return linesOutside(/^( *)```[\s\S]*?^\1```$/gm, pages).flatMap(({ at, line }) =>
    [...line.matchAll(/`((?:sallyport|npm run) [^`]+)`/g)].map(([, text]) => ({ at, text: text! })),
  );
}

function linesOutside(block: RegExp, pages: readonly string[]): readonly { at: string; line: string }[] {
  return pages.flatMap((page) =>
    readFileSync(page, 'utf8')
      .replaceAll(block, (text) => text.replaceAll(/[^\n]/g, ''))
      .split('\n')
      .map((line, index) => ({ at: `${page}:${index + 1}`, line })),
  );
}

/**
 * The words after `sallyport`, however it is started; undefined for another program. `helm install sallyport`
 * is one, `kubectl exec POD -- sallyport doctor` is none.
 */
export function sallyportWords(command: readonly string[]): readonly string[] | undefined {
  const viaNpm = command.join(' ').startsWith('npm run -s sallyport --');
  const at = viaNpm
    ? command.indexOf('--')
    : command.findIndex(
        (word, index) => basename(word) === 'sallyport' && (index === 0 || command[index - 1] === '--'),
      );
  return at < 0 ? undefined : command.slice(at + 1);
}

/**
 * Lets bash read each text, with its quotes, continuations, pipes and substitutions. It finds no program on
 * its path, so it tells the words of each instead of starting it; a restricted shell starts none by path
 * either and writes no file.
 */
function commandsOf(texts: readonly string[]): readonly (readonly string[])[][] {
  const told = `command_not_found_handle() {
    local words
    printf -v words '%s\\x1f' "$block" "$@"
    printf '%s\\n' "$words" >&3
  }`;
  const blocks = texts.map((text, index) => {
    const readable = text.replaceAll(/ > \S+/g, '').replaceAll(/^( *)cd /gm, '$1: ');
    return `block=${index}\n${readable}\nwait\n`;
  });
  const { output, stderr } = spawnSync(
    'bash',
    ['-c', [told, 'PATH=/nowhere', 'set -r', ...blocks].join('\n')],
    { encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe', 'pipe'] },
  );
  if (stderr) throw new Error(`the shell does not understand a document: ${stderr}`);
  const lines = output[3]!.split('\x1f\n').filter(Boolean);
  const commands = lines.map((line) => line.split('\x1f'));
  return texts.map((_, index) =>
    commands.filter(([block]) => block === String(index)).map(([, ...words]) => words),
  );
}
