import { Command, CommanderError } from 'commander';
import { isSallyportError, SallyportError } from '../core/errors.ts';
import { VERSION } from '../core/version.ts';
import { AdminError } from './admin/admin-client.ts';
import { adoptCommand } from './commands/adopt.ts';
import { auditCommand } from './commands/audit.ts';
import { backupCommand } from './commands/backup.ts';
import { caCommand } from './commands/ca.ts';
import { certsCommand } from './commands/certs.ts';
import { configCommand } from './commands/config.ts';
import { dashboardCommand } from './commands/dashboard.ts';
import { doctorCommand } from './commands/doctor.ts';
import { edgeCommand } from './commands/edge.ts';
import { healthCommand } from './commands/health.ts';
import { nodesCommand } from './commands/nodes.ts';
import { prepareCertsCommand } from './commands/prepare-certs.ts';
import { replicasCommand } from './commands/replicas.ts';
import { revocationCommands } from './commands/revocation.ts';
import { sendCommand } from './commands/send.ts';
import { serveCommand } from './commands/serve.ts';
import { tokenCommand } from './commands/token.ts';
import { watchCommand } from './commands/watch.ts';
import { addGlobalOptions } from './context.ts';
import { processTerminal, type Terminal } from './terminal.ts';
import { UsageError } from './usage-error.ts';

export const EXIT = { ok: 0, failure: 1, usage: 2 } as const;

export function createProgram(terminal: Terminal = processTerminal()): Command {
  const program = addGlobalOptions(new Command('sallyport'))
    .description('Cloud-side mTLS gateway for fleets of edge nodes')
    .version(VERSION)
    .showHelpAfterError('(run with --help for the options)')
    .showSuggestionAfterError();
  const commands = [
    serveCommand(terminal),
    prepareCertsCommand(terminal),
    adoptCommand(terminal),
    tokenCommand(terminal),
    nodesCommand(terminal),
    replicasCommand(terminal),
    ...revocationCommands(terminal),
    sendCommand(terminal),
    watchCommand(terminal),
    certsCommand(terminal),
    backupCommand(terminal),
    caCommand(terminal),
    auditCommand(terminal),
    dashboardCommand(terminal),
    doctorCommand(terminal),
    edgeCommand(terminal),
    configCommand(terminal),
    healthCommand(terminal),
  ];
  for (const command of commands) {
    command.copyInheritedSettings(program);
    program.addCommand(command);
  }
  return program;
}

/** Runs one command line. @returns the exit code: 0 ok, 1 failure, 2 usage */
export async function runProgram(terminal: Terminal, argv: readonly string[]): Promise<number> {
  const program = createProgram(terminal);
  settle(program, terminal);
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return terminal.exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    return report(terminal, error);
  }
}

/** Tells a person what went wrong and what to do; never a stack unless it is our own fault. */
function report(terminal: Terminal, error: unknown): number {
  const { red, dim } = terminal.paint('stderr');
  if (error instanceof UsageError) {
    terminal.printError(`${red('error')}: ${error.message}`);
    return EXIT.usage;
  }
  if (error instanceof SallyportError || error instanceof AdminError) {
    terminal.printError(`${red('error')}: ${error.message} ${dim(`[${error.code}]`)}`);
    for (let cause = error.cause; cause instanceof Error; cause = cause.cause)
      terminal.printError(dim(`  because: ${cause.message}`));
    if (error.fix) terminal.printError(`  ${error.fix}`);
    return isSallyportError(error, ...OF_THE_CONFIGURATION) ? EXIT.usage : EXIT.failure;
  }
  terminal.printError(error instanceof Error ? (error.stack ?? error.message) : String(error));
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
