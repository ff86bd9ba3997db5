import type { GatewayInfo } from '../../contracts/gateway-info.ts';
import type { ReplicaListing } from '../../contracts/replicas.ts';
import { Command } from '../commander.ts';
import { connectAdmin, type GlobalOptions, outputOption } from '../context.ts';
import { formatList, type ListView, shortDuration } from '../output.ts';
import type { Terminal } from '../terminal.ts';
import { warnUnanswered } from '../unanswered.ts';

const view: ListView<GatewayInfo> = {
  name: ({ replica }) => `replica/${replica}`,
  columns: [
    ['NAME', (row) => row.replica],
    ['VERSION', (row) => row.version],
    ['STATE', (row) => (row.draining ? 'Draining' : 'Running')],
    ['NODES', (row) => row.nodes],
    ['UP', (row) => shortDuration(new Date(row.now).getTime() - new Date(row.startedAt).getTime())],
    ['BUS', (row) => row.bus],
    ['CA', (row) => row.caSha256.slice(0, 12)],
    ['SERVES', (row) => served(row)],
  ],
};

export function replicasCommand(terminal: Terminal): Command {
  const command = new Command('replicas').description('show the gateways of the fleet');
  command
    .command('list')
    .description('list the replicas that are alive, and what each serves')
    .addOption(outputOption())
    .action(async (_options: unknown, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const { items, unanswered } = await connectAdmin(terminal, globals).get<ReplicaListing>(
        '/api/v1/replicas',
      );
      warnUnanswered(terminal, unanswered, 'what it says');
      terminal.print(formatList(items, globals.output ?? 'table', view));
    });
  return command;
}

/** Beginning of the fingerprint that all listeners serve; each by itself when they differ. */
function served({ listeners }: GatewayInfo): string {
  const prints = new Set(listeners.map(({ servedFingerprint }) => servedFingerprint.slice(0, 12)));
  if (prints.size === 1) return [...prints][0]!;
  return listeners
    .map(({ name, servedFingerprint }) => `${name}=${servedFingerprint.slice(0, 12)}`)
    .join(',');
}
