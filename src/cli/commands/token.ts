import { Command } from '../commander.ts';
import {
  connectAdmin,
  durationArgument,
  type GlobalOptions,
  loadForCommand,
  nodeArgument,
} from '../context.ts';
import { until } from '../output.ts';
import type { Terminal } from '../terminal.ts';
import { UsageError } from '../usage-error.ts';

export function tokenCommand(terminal: Terminal): Command {
  const command = new Command('token').description('create and revoke the tokens nodes join with');

  command
    .command('create')
    .description('create a token; it alone is printed on standard output')
    .option('--node <name>', 'for this node only; works once', nodeArgument)
    .option('--ttl <duration>', 'how long it is valid, for example 1h', durationArgument)
    .option('--fleet', 'the fleet token instead: any node can join with it until it expires')
    .addHelpText(
      'after',
      '\nExamples:\n  sallyport token create --node edge-1\n  TOKEN=$(sallyport token create --node edge-1 --ttl 15m)\n  sallyport token create --fleet',
    )
    .action(async (options: { node?: string; ttl?: number; fleet?: boolean }, self: Command) => {
      if (Boolean(options.node) === Boolean(options.fleet))
        throw new UsageError('name one node with --node NAME, or ask for the fleet token with --fleet');
      if (options.fleet && options.ttl !== undefined)
        throw new UsageError(
          'the life of the fleet token is set by tokens.fleetTtlMs; --ttl goes with --node',
        );
      const globals = self.optsWithGlobals<GlobalOptions>();
      const { token, expiresAt } = await connectAdmin(terminal, globals).post<{
        token: string;
        expiresAt: string;
      }>('/api/v1/tokens', {
        ...(options.node ? { node: options.node } : { fleet: true }),
        ...(options.ttl ? { ttlMs: options.ttl } : {}),
      });
      terminal.print(token);
      if (!terminal.stderr.isTTY) return;
      const { dim } = terminal.paint('stderr');
      const { config } = loadForCommand(terminal, globals);
      const address = config.advertise.addresses.find(Boolean) ?? 'HUB';
      terminal.printError(dim(`valid for ${until(expiresAt)}; join with:`));
      terminal.printError(
        `  sallyport edge run --node ${options.node ?? 'NAME'} --hub ${address} --token TOKEN`,
      );
    });

  command
    .command('revoke-all')
    .description('refuse every token created until now, on every replica')
    .action(async (_options: unknown, self: Command) => {
      await connectAdmin(terminal, self.optsWithGlobals<GlobalOptions>()).post('/api/v1/tokens/revoke-all');
      terminal.printError('all tokens are revoked');
    });

  return command;
}
