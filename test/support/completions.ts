import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Shell } from '../../src/cli/completion/completion-script.ts';
import { temporaryFolder } from './temporary-folder.ts';

/** What a shell offers after the last word of the line, sorted; `files` where it completes names of files. */
export type Completions = (line: string) => readonly string[];

const FILES = 'files';
/**
 * How a shell is asked without a terminal: bash and zsh call the function that the script registers, with the
 * words as they give them to one; fish has a command for it.
 */
const ASK: Readonly<Record<Shell, string>> = {
  bash: `compopt() { echo ${FILES}; }; source "$1"
    read -ra COMP_WORDS <<<"$2"; [[ $2 = *' ' ]] && COMP_WORDS+=('')
    COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
    set -- $(complete -p sallyport); shift $(($# - 2)); $1; printf '%s\\n' "\${COMPREPLY[@]}"`,
  zsh: `compdef() { registered=$1 }; _files() { echo ${FILES} }
    compadd() { shift; print -l -- \${(M)@:#\${words[CURRENT]}*} }; source "$1"
    words=(\${=2}); [[ $2 = *' ' ]] && words+=(''); CURRENT=$#words; $registered`,
  fish: `cd (dirname $argv[1]); source $argv[1]; complete -C $argv[2] | string replace -r '\\t.*' ''; true`,
};

/** Saves the script, and asks the shell itself. */
export function completionsOf(shell: Shell, script: string): Completions {
  const folder = temporaryFolder();
  writeFileSync(join(folder, FILES), script);
  const fixed = {
    bash: ['--norc', '-c', ASK.bash, 'bash'],
    zsh: ['-f', '-c', ASK.zsh, 'zsh'],
    fish: ['-N', '-c', ASK.fish],
  };
  return (line) =>
    execFileSync(shell, [...fixed[shell], join(folder, FILES), line], { encoding: 'utf8' })
      .split('\n')
      .filter(Boolean)
      .sort();
}

/** Line → what is offered, in every shell. */
export const EXPECTED: Readonly<Record<string, readonly string[]>> = {
  'sallyport re': ['replicas', 'revocations', 'revoke'],
  'sallyport nodes ': ['disconnect', 'forecast', 'forget', 'list', 'rejected', 'show'],
  'sallyport ca rollover a': ['abort', 'activate'],
  'sallyport --config x.yaml certs rotate ': ['hub'],
  'sallyport completion ': ['bash', 'fish', 'zsh'],
  'sallyport nodes list --output ': ['json', 'name', 'table', 'yaml'],
  'sallyport nodes list -o ya': ['yaml'],
  'sallyport backup create --fo': ['--force'],
  'sallyport backup create --bearer-token-': ['--bearer-token-file'],
  'sallyport token create --node ': [],
  'sallyport nodes show ': [],
  'sallyport --key ': [FILES],
  'sallyport backup create --passphrase-file ': [FILES],
  'sallyport backup verify ': [FILES],
};
