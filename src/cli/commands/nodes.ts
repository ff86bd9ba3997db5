import { Command } from 'commander';
import type { NodeInfo } from '../../contracts/node-directory.ts';
import type { NodeForecast } from '../../contracts/node-history.ts';
import type { Rejection } from '../../contracts/rejections.ts';
import { connectAdmin, type GlobalOptions, outputOption } from '../context.ts';
import { formatList, formatValue, type ListView, shortDuration } from '../output.ts';
import { print, printError } from '../streams.ts';

const age = (iso: string) => shortDuration(Date.now() - new Date(iso).getTime());

const view: ListView<NodeInfo> = {
  name: ({ node }) => `node/${node}`,
  columns: [
    ['NAME', (row) => row.node],
    ['TRANSPORT', (row) => row.transport],
    ['ADDRESS', (row) => row.remoteAddress],
    ['CONNECTED', (row) => age(row.connectedSince)],
    ['HEARD', (row) => age(row.lastHeard)],
    ['CERT-EXPIRES', (row) => shortDuration(new Date(row.certificate.notAfter).getTime() - Date.now())],
    ['QUEUED', (row) => row.queued],
    ['UNACKED', (row) => row.unacknowledged],
    ['RTT', (row) => (row.rttMs === undefined ? undefined : `${row.rttMs.toFixed(1)}ms`)],
    ['RECEIVED', (row) => row.bytesReceived],
    ['SENT', (row) => row.bytesSent],
    ['REPLICA', (row) => row.replica],
  ],
};

const rejectionView: ListView<Rejection> = {
  name: (row) => `node/${row.node ?? row.claimedNode ?? row.remoteAddress}`,
  columns: [
    ['NODE', ({ node, claimedNode }) => node ?? (claimedNode === undefined ? undefined : `?${claimedNode}`)],
    ['ADDRESS', (row) => row.remoteAddress],
    ['LISTENER', (row) => row.listener],
    ['REASON', (row) => row.reason],
    ['COUNT', (row) => row.count],
    ['FIRST', (row) => age(row.firstAt)],
    ['LAST', (row) => age(row.lastAt)],
    ['DETAIL', (row) => row.detail],
  ],
};

const forecastView: ListView<NodeForecast> = {
  name: ({ node }) => `node/${node}`,
  columns: [
    ['NAME', (row) => row.node],
    ['LAST-SEEN', (row) => lastSeen(row)],
    ['USUAL-GAP', (row) => (row.usualGapMs === undefined ? undefined : shortDuration(row.usualGapMs))],
    [
      'BACK-WITHIN',
      (row) =>
        row.nextContactBy === undefined
          ? undefined
          : shortDuration(new Date(row.nextContactBy).getTime() - Date.now()),
    ],
    ['EXPIRES', (row) => shortDuration(new Date(row.certificate.notAfter).getTime() - Date.now())],
    ['RENEWABLE-UNTIL', (row) => row.renewableUntil],
    ['VERDICT', (row) => (row.overdue ? `${row.verdict}, overdue` : row.verdict)],
  ],
};

function lastSeen({ connectedHere, lastSeen }: NodeForecast): string {
  if (connectedHere) return 'now';
  return lastSeen === undefined ? 'never' : age(lastSeen);
}

export function nodesCommand(): Command {
  const command = new Command('nodes').description('list, show, forecast, forget and disconnect nodes');

  command
    .command('list')
    .description('list the connected nodes')
    .addOption(outputOption())
    .action(async (_options: unknown, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const { items } = await connectAdmin(globals).get<{ items: NodeInfo[] }>('/api/v1/nodes');
      if (items.length === 0 && globals.output === 'table') return printError('no node is connected');
      print(formatList(items, globals.output ?? 'table', view));
    });

  command
    .command('show <node>')
    .description('show everything known of one node')
    .addOption(outputOption())
    .action(async (node: string, _options: unknown, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const info = await connectAdmin(globals).get<NodeInfo>(`/api/v1/nodes/${encodeURIComponent(node)}`);
      if (globals.output === 'name') return print(view.name(info));
      print(formatValue(info, globals.output === 'json' ? 'json' : 'yaml'));
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
      const { items } = await connectAdmin(globals).get<{ items: NodeForecast[] }>('/api/v1/nodes/forecast');
      const shown = atRisk
        ? items.filter(({ verdict }) => verdict === 'at-risk' || verdict === 'expired')
        : items;
      if (shown.length === 0 && (globals.output ?? 'table') === 'table')
        return printError(atRisk ? 'no node is at risk' : 'no node is known');
      print(formatList(shown, globals.output ?? 'table', forecastView));
    });

  command
    .command('forget <node>')
    .description('forget a node whose hardware is gone; it is known again if it returns')
    .action(async (node: string, _options: unknown, self: Command) => {
      await connectAdmin(self.optsWithGlobals<GlobalOptions>()).post(
        `/api/v1/nodes/${encodeURIComponent(node)}/forget`,
      );
      printError(`node ${node} is forgotten`);
    });

  command
    .command('disconnect <node>')
    .description('end the session of a node; it may reconnect')
    .action(async (node: string, _options: unknown, self: Command) => {
      await connectAdmin(self.optsWithGlobals<GlobalOptions>()).post(
        `/api/v1/nodes/${encodeURIComponent(node)}/disconnect`,
      );
      printError(`node ${node} is disconnected`);
    });

  command
    .command('rejected')
    .description('list nodes and addresses that were refused, why, and what to do about it')
    .option('--node <name>', 'only of this node, claimed or proven')
    .option('--reason <word>', 'only for this reason; docs/errors.md lists the words')
    .addOption(outputOption())
    .addHelpText(
      'after',
      `
A name after "?" is what the peer claims to be: anybody may have written it. Each replica remembers its own.

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
      const { items } = await connectAdmin(globals).get<{ items: Rejection[] }>(path);
      const format = globals.output ?? 'table';
      if (items.length === 0 && format === 'table') return printError('nobody was refused');
      print(formatList(items, format, rejectionView));
      if (format !== 'table') return;
      const fixes = new Map(items.map(({ reason, fix }) => [reason, fix]));
      for (const [reason, fix] of fixes) printError(`${reason}: ${fix}`);
    });

  return command;
}
