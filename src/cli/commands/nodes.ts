import { describeForgotten } from '../../certs/rollover/describe-forgotten.ts';
import type { NodeInfo, NodeListing } from '../../contracts/node-directory.ts';
import type { ForgottenNodes, NodeForecast } from '../../contracts/node-history.ts';
import { Command } from '../commander.ts';
import { connectAdmin, type GlobalOptions, outputOption } from '../context.ts';
import { age, formatList, formatValue, type ListView, shortDuration, until } from '../output.ts';
import type { Terminal } from '../terminal.ts';
import { warnUnanswered } from '../unanswered.ts';
import { rejectedCommand } from './nodes-rejected.ts';

const view: ListView<NodeInfo> = {
  name: ({ node }) => `node/${node}`,
  columns: [
    ['NAME', (row) => row.node],
    ['TRANSPORT', (row) => row.transport],
    ['ADDRESS', (row) => row.remoteAddress],
    ['CONNECTED', (row) => age(row.connectedSince)],
    ['HEARD', (row) => age(row.lastHeard)],
    ['CERT-EXPIRES', (row) => until(row.certificate.notAfter)],
    ['QUEUED', (row) => row.queued],
    ['UNACKED', (row) => row.unacknowledged],
    ['RTT', (row) => (row.rttMs === undefined ? undefined : `${row.rttMs.toFixed(1)}ms`)],
    ['RECEIVED', (row) => row.bytesReceived],
    ['SENT', (row) => row.bytesSent],
    ['REPLICA', (row) => row.replica],
  ],
};

/** The column stands only where there is a CloudCore behind the gateway. */
function viewOf(items: readonly NodeInfo[]): ListView<NodeInfo> {
  if (!items.some(({ upstream }) => upstream)) return view;
  const cell = ({ upstream }: NodeInfo) => (upstream?.state === 'open' ? upstream.address : upstream?.state);
  return { ...view, columns: [...view.columns, ['CLOUDCORE', cell]] };
}

const forecastView: ListView<NodeForecast> = {
  name: ({ node }) => `node/${node}`,
  columns: [
    ['NAME', (row) => row.node],
    ['LAST-SEEN', (row) => lastSeen(row)],
    ['USUAL-GAP', (row) => (row.usualGapMs === undefined ? undefined : shortDuration(row.usualGapMs))],
    ['BACK-WITHIN', (row) => (row.nextContactBy === undefined ? undefined : until(row.nextContactBy))],
    ['EXPIRES', (row) => until(row.certificate.notAfter)],
    ['RENEWABLE-UNTIL', (row) => row.renewableUntil],
    ['VERDICT', (row) => (row.overdue ? `${row.verdict}, overdue` : row.verdict)],
  ],
};

function lastSeen({ connectedHere, lastSeen }: NodeForecast): string {
  if (connectedHere) return 'now';
  return lastSeen === undefined ? 'never' : age(lastSeen);
}

export function nodesCommand(terminal: Terminal): Command {
  const command = new Command('nodes').description('list, show, forecast, forget and disconnect nodes');

  command
    .command('list')
    .description('list the connected nodes of all replicas')
    .addOption(outputOption())
    .action(async (_options: unknown, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const { items, unanswered } = await connectAdmin(terminal, globals).get<NodeListing>('/api/v1/nodes');
      warnUnanswered(terminal, unanswered, 'the list of nodes');
      if (items.length === 0 && globals.output === 'table')
        return terminal.printError('no node is connected');
      terminal.print(formatList(items, globals.output ?? 'table', viewOf(items)));
    });

  command
    .command('show <node>')
    .description('show everything known of one node')
    .addOption(outputOption())
    .action(async (node: string, _options: unknown, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const info = await connectAdmin(terminal, globals).get<NodeInfo>(
        `/api/v1/nodes/${encodeURIComponent(node)}`,
      );
      if (globals.output === 'name') return terminal.print(view.name(info));
      terminal.print(formatValue(info, globals.output === 'json' ? 'json' : 'yaml'));
    });

  command
    .command('forecast')
    .description('list known nodes, connected or not, and whether they will be back in time to renew')
    .option('--at-risk', 'only nodes somebody has to do something about')
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nExamples:\n  sallyport nodes forecast --at-risk\n  sallyport nodes forecast -o json',
    )
    .action(async ({ atRisk }: { atRisk?: boolean }, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const { items, forgotten } = await connectAdmin(terminal, globals).get<{
        items: NodeForecast[];
        forgotten?: ForgottenNodes;
      }>('/api/v1/nodes/forecast');
      if (forgotten)
        terminal.printError(`warning: ${describeForgotten(forgotten)}; they are not in this list`);
      const shown = atRisk
        ? items.filter(({ verdict }) => verdict === 'at-risk' || verdict === 'expired')
        : items;
      if (shown.length === 0 && (globals.output ?? 'table') === 'table')
        return terminal.printError(atRisk ? 'no node is at risk' : 'no node is known');
      terminal.print(formatList(shown, globals.output ?? 'table', forecastView));
    });

  command
    .command('forget <node>')
    .description('forget a node whose hardware is gone; it is known again if it returns')
    .action(async (node: string, _options: unknown, self: Command) => {
      await connectAdmin(terminal, self.optsWithGlobals<GlobalOptions>()).post(
        `/api/v1/nodes/${encodeURIComponent(node)}/forget`,
      );
      terminal.printError(`node ${node} is forgotten`);
    });

  command
    .command('disconnect <node>')
    .description('end the session of a node; it may reconnect')
    .action(async (node: string, _options: unknown, self: Command) => {
      await connectAdmin(terminal, self.optsWithGlobals<GlobalOptions>()).post(
        `/api/v1/nodes/${encodeURIComponent(node)}/disconnect`,
      );
      terminal.printError(`node ${node} is disconnected`);
    });

  command.addCommand(rejectedCommand(terminal));

  return command;
}
