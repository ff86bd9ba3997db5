import type { Argument, Command, Option } from '../commander.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** What may stand after `sallyport nodes`, for instance. */
interface Place {
  /** The commands so far: `sallyport nodes`. */
  readonly at: string;
  readonly commands: readonly Command[];
  /** Without those that every command has. */
  readonly options: readonly Option[];
  readonly argument: Values;
}

/** What an option or argument takes: these words, files, or a text that nobody can complete. */
type Values = readonly string[] | 'files' | 'text';

/** A script that completes commands, options, and values where they are known. It calls no gateway. */
export function completionScript(shell: Shell, program: Command): string {
  const write = { bash, zsh, fish }[shell];
  return write(placesOf(program, program.name()), program.createHelp().visibleOptions(program));
}

function placesOf(command: Command, at: string, isRoot = true): readonly Place[] {
  const argument = command.registeredArguments[0];
  return [
    {
      at,
      commands: command.commands,
      options: isRoot ? [] : command.options,
      argument: argument ? valuesOf(argument, argument.name()) : 'text',
    },
    ...command.commands.flatMap((child) => placesOf(child, `${at} ${child.name()}`, false)),
  ];
}

function valuesOf({ argChoices }: Argument | Option, placeholder: string): Values {
  return argChoices ?? (/\b(file|folder|path)>?$/.test(placeholder) ? 'files' : 'text');
}

const namesOf = ({ short, long }: Option) => [short, long].filter((name) => name !== undefined);
const takesValue = ({ required, optional }: Option) => required || optional;
const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

/** What bash and zsh read alike. They differ in where the words come from and go to. */
function bourneBody(places: readonly Place[], globals: readonly Option[]): string {
  const offer = (values: Values) =>
    values === 'files'
      ? '_sallyport_files'
      : values === 'text'
        ? ':'
        : `_sallyport_offer ${values.join(' ')}`;
  const valueCases = (options: readonly Option[], at?: string) =>
    options.filter(takesValue).map((option) => {
      const patterns = namesOf(option).map((name) =>
        at ? quoted(`${at} ${name}`) : `*${quoted(` ${name}`)}`,
      );
      return `    ${patterns.join('|')}) ${offer(valuesOf(option, option.flags))} ;;`;
    });
  const namesCases = places.flatMap(({ at, commands, options, argument }) => [
    `      ${quoted(`${at}:-`)}*) _sallyport_offer ${options.flatMap(namesOf).join(' ')} "\${globals[@]}" ;;`,
    `      ${quoted(`${at}:`)}*) ${offer(commands.length > 0 ? commands.map((one) => one.name()) : argument)} ;;`,
  ]);
  const inner = places.slice(1).map(({ at }) => quoted(at));
  return [
    '  local at=sallyport word',
    `  local -a globals=(${globals.flatMap(namesOf).join(' ')})`,
    `  for word in "\${before[@]}"; do`,
    `    case "$at $word" in ${inner.join('|')}) at="$at $word" ;; esac`,
    '  done',
    '  case "$at $prev" in',
    ...places.flatMap(({ at, options }) => valueCases(options, at)),
    ...valueCases(globals),
    '    *) case "$at:$cur" in',
    ...namesCases,
    '    esac ;;',
    '  esac',
  ].join('\n');
}

const bash = (places: readonly Place[], globals: readonly Option[]) => `# bash completion of sallyport
_sallyport_offer() { COMPREPLY=($(compgen -W "$*" -- "$cur")); }
_sallyport_files() { compopt -o default; }
_sallyport() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]}
  local -a before=("\${COMP_WORDS[@]:1:COMP_CWORD-1}")
  COMPREPLY=()
${bourneBody(places, globals)}
}
complete -F _sallyport sallyport
`;

const zsh = (places: readonly Place[], globals: readonly Option[]) => `#compdef sallyport
_sallyport_offer() { compadd -- "$@"; }
_sallyport_files() { _files; }
_sallyport() {
  local cur=\${words[CURRENT]} prev=\${words[CURRENT-1]}
  local -a before=("\${(@)words[2,CURRENT-1]}")
${bourneBody(places, globals)}
}
# In a folder of fpath this file is the function itself; a shell that sources it is told its name.
if [ "$funcstack[1]" = _sallyport ]; then _sallyport "$@"; else compdef _sallyport sallyport; fi
`;

function fish(places: readonly Place[], globals: readonly Option[]): string {
  const text = (plain: string) => `'${plain.replaceAll(/[\\']/g, '\\$&')}'`;
  const optionLine = (option: Option) => {
    const values = valuesOf(option, option.flags);
    const value =
      values === 'files' ? ['-r -F'] : values === 'text' ? ['-x'] : ['-x -a', text(values.join(' '))];
    const names = [
      ...(option.short ? [`-s ${option.short.slice(1)}`] : []),
      ...(option.long ? [`-l ${option.long.slice(2)}`] : []),
    ];
    return [...names, ...(takesValue(option) ? value : []), '-d', text(option.description)].join(' ');
  };
  const lines = places.flatMap(({ at, commands, options, argument }) =>
    [
      ...commands.map((one) => `-a ${one.name()} -d ${text(one.description())}`),
      ...(argument === 'text' ? [] : [argument === 'files' ? '-F' : `-a ${text(argument.join(' '))}`]),
      ...options.map(optionLine),
    ].map((line) => `-n ${text(`__sallyport_at ${at}`)} ${line}`),
  );
  return `# fish completion of sallyport
function __sallyport_at
  set -l at sallyport
  for word in (commandline -opc)[2..-1]
    switch "$at $word"
      case ${places
        .slice(1)
        .map(({ at }) => text(at))
        .join(' ')}
        set at "$at $word"
    end
  end
  test "$at" = "$argv"
end
complete -c sallyport -f
${[...lines, ...globals.map(optionLine)].map((line) => `complete -c sallyport ${line}`).join('\n')}
`;
}
