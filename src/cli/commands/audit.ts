import { type AuditLine, readAudit, verifyAudit } from '../../audit/read-audit.ts';
import { describeError, SallyportError } from '../../core/errors.ts';
import { Command, InvalidArgumentError } from '../commander.ts';
import { type GlobalOptions, loadForCommand, outputOption } from '../context.ts';
import { formatList, formatValue, type ListView, type OutputFormat, parseDuration } from '../output.ts';
import type { Terminal } from '../terminal.ts';

const view: ListView<AuditLine> = {
  name: ({ replica, at }) => `${replica}/${at}`,
  columns: [
    ['TIME', (row) => row.at],
    ['ACTION', (row) => row.action],
    ['WHO', (row) => row.who],
    ['NODE', (row) => row.node],
    ['FROM', (row) => row.from],
    ['WHY', (row) => row.why],
    ['WHAT', (row) => row.what],
    ['REPLICA', (row) => row.replica],
  ],
};

interface ListOptions extends GlobalOptions {
  readonly folder?: string;
  readonly node?: string;
  readonly action?: string;
  readonly since?: number;
  readonly until?: number;
  readonly output: OutputFormat;
}

interface VerifyOptions extends GlobalOptions {
  readonly folder?: string;
  readonly includes?: string;
  readonly output: OutputFormat;
}

export function auditCommand(terminal: Terminal): Command {
  const audit = new Command('audit').description('what was done, by whom, why and from where');
  const folderOption = ['--folder <path>', 'folder of the audit (default: audit.path)'] as const;
  audit
    .command('list')
    .description('print lines of the audit, oldest first')
    .option(...folderOption)
    .option('--node <node>', 'only lines about this node')
    .option('--action <action>', 'only lines of this action, for example revoked')
    .option('--since <time>', 'only lines from this time on: 24h, or 2026-11-28T10:00:00Z', momentArgument)
    .option('--until <time>', 'only lines up to this time', momentArgument)
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nExamples:\n  sallyport audit list --since 24h\n  sallyport audit list --node edge-1 -o json\n  sallyport audit list --action certificate-refused',
    )
    .action((_options: unknown, self: Command) => {
      const options = self.optsWithGlobals<ListOptions>();
      const lines = reading(terminal, options, (folder) => readAudit(folder, options));
      const text = formatList(lines, options.output, view);
      if (text !== '') terminal.print(text);
      else terminal.printError('no line of the audit matches');
    });
  audit
    .command('verify')
    .description('follow the chain of hashes, and name the first line that does not hold')
    .option(...folderOption)
    .option('--includes <sha256>', 'also check that the line with this hash, noted earlier, is still there')
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nExamples:\n  sallyport audit verify\n  sallyport audit verify --folder /copy/of/audit --includes 5e…',
    )
    .action((_options: unknown, self: Command) => {
      const options = self.optsWithGlobals<VerifyOptions>();
      const verdict = reading(terminal, options, (folder) => verifyAudit(folder, options));
      if (options.output === 'json' || options.output === 'yaml')
        terminal.print(formatValue(verdict, options.output));
      else
        for (const { replica, files, lines, head, broken } of verdict.chains) {
          const size = `${lines} ${lines === 1 ? 'line' : 'lines'} in ${files} ${files === 1 ? 'file' : 'files'}`;
          if (!broken) terminal.print(`${replica}: whole, ${size}, the last has the hash ${head}`);
          else terminal.print(`${replica}: broken at ${broken.file}:${broken.line}: ${broken.problem}`);
        }
      if (verdict.included === false)
        terminal.printError(
          'the line of --includes is not there: lines were removed, or all were written anew',
        );
      if (verdict.included === false || verdict.chains.some(({ broken }) => broken)) terminal.exitCode = 1;
    });
  return audit;
}

/** @throws AUDIT_NOT_KEPT */
function reading<T>(
  terminal: Terminal,
  options: GlobalOptions & { readonly folder?: string },
  read: (folder: string) => T,
): T {
  const folder = options.folder ?? loadForCommand(terminal, options).config.audit.path;
  if (folder === undefined) throw new SallyportError('AUDIT_NOT_KEPT', { problem: 'audit.path is not set' });
  try {
    return read(folder);
  } catch (cause) {
    throw new SallyportError('AUDIT_NOT_KEPT', { problem: describeError(cause) }, cause);
  }
}

/** A moment, or how long ago it was; milliseconds since 1970. */
function momentArgument(text: string): number {
  const ago = parseDuration(text);
  const at = ago === undefined ? Date.parse(text) : Date.now() - ago;
  if (Number.isNaN(at))
    throw new InvalidArgumentError('write 24h or 7d, or a time such as 2026-11-28T10:00:00Z');
  return at;
}
