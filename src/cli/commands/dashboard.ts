import { once } from 'node:events';
import type { OwnInfo } from '../../contracts/gateway-info.ts';
import { Command, InvalidArgumentError } from '../commander.ts';
import { connectAdmin, type GlobalOptions } from '../context.ts';
import type { Terminal } from '../terminal.ts';

export function dashboardCommand(terminal: Terminal): Command {
  return new Command('dashboard')
    .description('open the page that shows and changes things, for a browser on this machine')
    .option('--port <port>', 'local port of the page (default: a free one)', portArgument)
    .addHelpText(
      'after',
      `
The page is served to this machine alone, by a proxy that holds your credentials. Whoever has the address that is
printed may do what you may: do not pass it on. It ends with this command. With the credentials of a viewer it only
reads.

Examples:
  sallyport dashboard
  kubectl -n kubeedge port-forward deployment/sallyport 10010 &  sallyport dashboard --set secretStore.kind=kubernetes`,
    )
    .action(async ({ port }: { port?: number }, self: Command) => {
      const client = connectAdmin(terminal, self.optsWithGlobals<GlobalOptions>());
      // Says at once what is wrong with address or credentials.
      const { replica, caller } = await client.get<OwnInfo>('/api/v1/info');
      const { startDashboard } = await import('../dashboard/dashboard-proxy.ts');
      const stop = terminal.interrupted();
      await using dashboard = await startDashboard({ client }, port === undefined ? {} : { port });
      terminal.printError(`the page of ${replica} is open until this command ends; open in a browser:`);
      if (caller.role === 'viewer') terminal.printError(`${caller.name} is a viewer: the page only reads`);
      terminal.print(dashboard.url);
      if (!stop.aborted) await once(stop, 'abort');
    });
}

function portArgument(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new InvalidArgumentError('write a port from 0 to 65535');
  return port;
}
