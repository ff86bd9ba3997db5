import type { CaRolloverStatus, RolloverNode, RolloverStep } from '../../contracts/ca-rollover.ts';
import { AdminError } from '../admin/admin-error.ts';
import { Command } from '../commander.ts';
import { connectAdmin, durationArgument, type GlobalOptions, outputOption } from '../context.ts';
import { formatTable, formatValue } from '../output.ts';
import type { Terminal } from '../terminal.ts';

const API = '/api/v1/ca/rollover';
const POLL_MS = 2_000;

/** Step → what it does, and what it says when it is done. */
const STEPS: Readonly<Record<RolloverStep, readonly [description: string, done: string]>> = {
  prepare: [
    'make the new CA and have it trusted everywhere; nothing is issued from it yet',
    'the new CA is made and trusted; next: sallyport ca rollover activate',
  ],
  activate: [
    'issue new certificates from the new CA; the hub presents it signed by the old one',
    'new certificates come from the new CA; next: sallyport ca rollover retire',
  ],
  retire: [
    'ask the nodes that are left on the old CA to renew; done when none is left',
    'no node depends on the old CA; next, and for good: sallyport ca rollover revoke',
  ],
  revoke: [
    'end the trust in the old CA and close the sessions that depend on it; cannot be taken back',
    'the old CA is trusted no longer; the new one is in the CA Secret: back it up',
  ],
  abort: ['take the last step back', 'the last step is taken back'],
};

export function caCommand(terminal: Terminal): Command {
  const command = new Command('ca').description('the CA of the fleet');
  const rollover = command
    .command('rollover')
    .description('replace the CA without touching a node: prepare, activate, retire, revoke')
    .addHelpText(
      'after',
      '\nExamples:\n  sallyport ca rollover status\n  sallyport ca rollover prepare\n  sallyport ca rollover activate\n  sallyport ca rollover retire --wait 10m\n  sallyport ca rollover revoke',
    );
  rollover
    .command('status')
    .description('show the phase, which nodes depend on which CA, and what blocks the next step')
    .option('--limit <nodes>', 'how many nodes to list, those that depend on the other CA first', '100')
    .addOption(outputOption())
    .action(async ({ limit }: { limit: string }, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const path = `${API}?limit=${encodeURIComponent(limit)}`;
      printStatus(
        terminal,
        await connectAdmin(terminal, globals).get<CaRolloverStatus>(path),
        globals.output,
      );
    });
  for (const step of Object.keys(STEPS) as RolloverStep[]) rollover.addCommand(stepCommand(terminal, step));
  return command;
}

interface StepOptions {
  readonly force?: boolean;
  /** Milliseconds. */
  readonly wait?: number;
}

function stepCommand(terminal: Terminal, step: RolloverStep): Command {
  const [description, done] = STEPS[step];
  const command = new Command(step)
    .description(description)
    .option('--force', 'do it although nodes or replicas would be left behind')
    .addOption(outputOption());
  if (step === 'retire')
    command.option(
      '--wait <duration>',
      'try again for so long while nodes are left, such as 10m',
      durationArgument,
    );
  return command.action(async ({ force = false, wait = 0 }: StepOptions, self: Command) => {
    const globals = self.optsWithGlobals<GlobalOptions>();
    const admin = connectAdmin(terminal, globals);
    const end = performance.now() + wait;
    for (let told = ''; ; ) {
      try {
        const status = await admin.post<CaRolloverStatus>(`${API}/${step}`, { force });
        terminal.printError(done);
        return printStatus(terminal, status, globals.output);
      } catch (error) {
        const isBlocked = error instanceof AdminError && error.code === 'ROLLOVER_BLOCKED';
        if (!isBlocked || performance.now() + POLL_MS > end) throw error;
        if (error.message !== told) terminal.printError(error.message);
        told = error.message;
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    }
  });
}

function printStatus(
  terminal: Terminal,
  status: CaRolloverStatus,
  format: GlobalOptions['output'] = 'table',
): void {
  if (format === 'json' || format === 'yaml') terminal.print(formatValue(status, format));
  else if (format === 'name') terminal.print(`phase/${status.phase}`);
  else printTable(terminal, status);
}

function printTable(terminal: Terminal, status: CaRolloverStatus): void {
  const { phase, issuing, old, new: next, bridgedUntil, summary, warnings, items } = status;
  const ca = (one: CaRolloverStatus['issuing'] | undefined) =>
    one &&
    `${one.sha256.slice(0, 16)} ${one.subject.replaceAll('\n', ', ')} until ${one.notAfter.slice(0, 10)}`;
  const facts: (readonly [string, string | undefined])[] = [
    ['Phase', phase],
    ['Issuing CA', ca(issuing)],
    ['Old CA', ca(old)],
    ['New CA', ca(next)],
    ['Bridged until', bridgedUntil?.slice(0, 10)],
    ['Nodes', summary],
    ...status.next.map(
      ({ step, blockers }) =>
        [`May ${step}`, blockers.length === 0 ? 'yes' : `no: ${blockers.join('; ')}`] as const,
    ),
    ...warnings.map((warning) => ['Warning', warning] as const),
  ];
  for (const [name, text] of facts) if (text !== undefined) terminal.print(`${`${name}:`.padEnd(15)}${text}`);
  if (items.length > 0) terminal.print(`\n${formatNodes(items)}`);
}

function formatNodes(items: readonly RolloverNode[]): string {
  return formatTable(items, [
    ['NODE', (row) => row.node],
    ['CERTIFICATE OF', (row) => row.issuedBy],
    ['TRUSTS', (row) => `${row.trusts.join('+')}${row.trustsFrom === 'inferred' ? '?' : ''}`],
    ['EXPIRES', (row) => row.notAfter.slice(0, 10)],
    ['LAST SEEN', (row) => (row.connected ? 'connected' : row.lastSeen)],
    ['NOTE', (row) => row.note],
  ]);
}
