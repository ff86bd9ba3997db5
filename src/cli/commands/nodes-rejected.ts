import type { FleetRejection, RejectionListing } from '../../contracts/rejections.ts';
import { Command } from '../commander.ts';
import { connectAdmin, type GlobalOptions, outputOption } from '../context.ts';
import { age, formatList, type ListView } from '../output.ts';
import type { Terminal } from '../terminal.ts';
import { warnUnanswered } from '../unanswered.ts';

const rejectionView: ListView<FleetRejection> = {
  name: (row) => `node/${row.node ?? row.claimedNode ?? row.remoteAddress}`,
  columns: [
    ['NODE', ({ node, claimedNode }) => node ?? (claimedNode === undefined ? undefined : `?${claimedNode}`)],
    ['ADDRESS', (row) => row.remoteAddress],
    ['LISTENER', (row) => row.listener],
    ['REASON', (row) => row.reason],
    ['COUNT', (row) => row.count],
    ['FIRST', (row) => age(row.firstAt)],
    ['LAST', (row) => age(row.lastAt)],
    ['REPLICA', (row) => row.replica],
    ['DETAIL', (row) => row.detail],
  ],
};

export function rejectedCommand(terminal: Terminal): Command {
  return new Command('rejected')
    .description('list nodes and addresses that were refused, why, and what to do about it')
    .option('--node <name>', 'only of this node, claimed or proven')
    .option('--reason <word>', 'only for this reason; docs/errors.md lists the words')
    .addOption(outputOption())
    .addHelpText(
      'after',
      `
A name after "?" is what the peer claims to be: anybody may have written it. Every replica is asked for what it
remembers.

Examples:
  sallyport nodes rejected
  sallyport nodes rejected --reason expired -o json`,
    )
    .action(async (options: { node?: string; reason?: string }, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const query = new URLSearchParams(
        Object.entries({ node: options.node, reason: options.reason }).filter(
          (entry): entry is [string, string] => entry[1] !== undefined,
        ),
      );
      const path = `/api/v1/rejections${query.size > 0 ? `?${query}` : ''}`;
      const { items, unanswered } = await connectAdmin(terminal, globals).get<RejectionListing>(path);
      warnUnanswered(terminal, unanswered, 'what was refused');
      const format = globals.output ?? 'table';
      if (items.length === 0 && format === 'table') return terminal.printError('nobody was refused');
      terminal.print(formatList(items, format, rejectionView));
      if (format !== 'table') return;
      const fixes = new Map(items.map(({ reason, fix }) => [reason, fix]));
      for (const [reason, fix] of fixes) terminal.printError(`${reason}: ${fix}`);
    });
}
