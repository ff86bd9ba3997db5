import { isSallyportError, SallyportError } from '../core/errors.ts';
import { VERSION } from '../core/version.ts';
import { AdminError } from './admin/admin-error.ts';
import { Command, CommanderError } from './commander.ts';
import { addGlobalOptions } from './global-options.ts';
import { processTerminal, type Terminal } from './terminal.ts';
import { UsageError } from './usage-error.ts';

const EXIT = { ok: 0, failure: 1, usage: 2 } as const;

/** Name → its module, which is imported when its command is wanted; in the order of the help. */
const COMMANDS: Readonly<Record<string, () => Promise<(terminal: Terminal) => Command>>> = {
  serve: async () => (await import('./commands/serve.ts')).serveCommand,
  'prepare-certs': async () => (await import('./commands/prepare-certs.ts')).prepareCertsCommand,
  adopt: async () => (await import('./commands/adopt.ts')).adoptCommand,
  token: async () => (await import('./commands/token.ts')).tokenCommand,
  nodes: async () => (await import('./commands/nodes.ts')).nodesCommand,
  replicas: async () => (await import('./commands/replicas.ts')).replicasCommand,
  revoke: async () => (await import('./commands/revocation.ts')).revokeCommand,
  quarantine: async () => (await import('./commands/revocation.ts')).quarantineCommand,
  lift: async () => (await import('./commands/revocation.ts')).liftCommand,
  revocations: async () => (await import('./commands/revocation.ts')).revocationsCommand,
  send: async () => (await import('./commands/send.ts')).sendCommand,
  watch: async () => (await import('./commands/watch.ts')).watchCommand,
  certs: async () => (await import('./commands/certs.ts')).certsCommand,
  backup: async () => (await import('./commands/backup.ts')).backupCommand,
  ca: async () => (await import('./commands/ca.ts')).caCommand,
  audit: async () => (await import('./commands/audit.ts')).auditCommand,
  dashboard: async () => (await import('./commands/dashboard.ts')).dashboardCommand,
  doctor: async () => (await import('./commands/doctor.ts')).doctorCommand,
  edge: async () => (await import('./commands/edge.ts')).edgeCommand,
  config: async () => (await import('./commands/config.ts')).configCommand,
  health: async () => (await import('./commands/health.ts')).healthCommand,
  completion: async () => (await import('./commands/completion.ts')).completionCommand,
};

/** @param names of the commands it shall have; all of them by default */
export async function createProgram(
  terminal: Terminal = processTerminal(),
  names: readonly string[] = Object.keys(COMMANDS),
): Promise<Command> {
  const program = addGlobalOptions(new Command('sallyport'))
    .description('Cloud-side mTLS gateway for fleets of edge nodes')
    .version(VERSION)
    .showHelpAfterError('(run with --help for the options)')
    .showSuggestionAfterError();
  for (const name of names) {
    const build = await COMMANDS[name]!();
    const command = build(terminal);
    command.copyInheritedSettings(program);
    program.addCommand(command);
  }
  return program;
}

/**
 * The commands that these words may mean. Which word is the command is for commander to say; so every word
 * counts that is one's name. Without any all of them: for the help, and for what was meant by a typo. The
 * completion tells all of them too.
 */
function wantedOf(argv: readonly string[]): readonly string[] | undefined {
  if (argv[0] === '--version' || argv[0] === '-V') return [];
  const named = Object.keys(COMMANDS).filter((name) => argv.includes(name));
  const isAboutAll = named.length === 0 || argv[0] === 'help' || named.includes('completion');
  return isAboutAll ? undefined : named;
}

/** Runs one command line. @returns the exit code: 0 ok, 1 failure, 2 usage */
export async function runProgram(terminal: Terminal, argv: readonly string[]): Promise<number> {
  const program = await createProgram(terminal, wantedOf(argv));
  settle(program, terminal);
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return terminal.exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    return report(terminal, error);
  }
}

/**
 * Tells a person what went wrong and what to do; never a stack unless it is our own fault, which a
 * full disk or a missing right is not.
 */
function report(terminal: Terminal, error: unknown): number {
  const { red, dim } = terminal.paint('stderr');
  if (error instanceof UsageError) {
    terminal.printError(`${red('error')}: ${error.message}`);
    return EXIT.usage;
  }
  if (error instanceof SallyportError || error instanceof AdminError) {
    terminal.printError(`${red('error')}: ${error.message} ${dim(`[${error.code}]`)}`);
    let said = error.message;
    for (let cause = error.cause; cause instanceof Error; cause = cause.cause) {
      if (!said.includes(cause.message)) terminal.printError(dim(`  because: ${cause.message}`));
      said = cause.message;
    }
    if (error.fix) terminal.printError(`  ${error.fix}`);
    return isSallyportError(error, ...OF_THE_CONFIGURATION) ? EXIT.usage : EXIT.failure;
  }
  const isOfSystem = error instanceof Error && 'syscall' in error;
  if (isOfSystem) terminal.printError(`${red('error')}: ${error.message}`);
  else terminal.printError(error instanceof Error ? (error.stack ?? error.message) : String(error));
  return EXIT.failure;
}

/** What an operator has to change before a start has a chance. */
const OF_THE_CONFIGURATION = [
  'CONFIG_INVALID',
  'CONFIG_UNREADABLE',
  'ADDRESS_INVALID',
  'QUIC_LIBRARY_MISSING',
  'AUDIT_FOLDER_UNUSABLE',
  'AUDIT_NOT_KEPT',
] as const;

/** Commander neither ends the process nor writes to its streams. */
function settle(command: Command, terminal: Terminal): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => terminal.stdout.write(text),
    writeErr: (text) => terminal.stderr.write(text),
  });
  for (const child of command.commands) settle(child, terminal);
}
