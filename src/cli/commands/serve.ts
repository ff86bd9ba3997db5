import { once } from 'node:events';
import { LiveConfig } from '../../config/live-config.ts';
import { loadConfig } from '../../config/load.ts';
import { banner } from '../banner.ts';
import { Command } from '../commander.ts';
import { configSources, type GlobalOptions } from '../context.ts';
import type { Terminal } from '../terminal.ts';
import { terminalLog } from '../terminal-log.ts';

export function serveCommand(terminal: Terminal): Command {
  return new Command('serve')
    .description('run the gateway')
    .option('--print-ready', 'print one line of JSON on standard output once ready')
    .addHelpText(
      'after',
      '\nExamples:\n  sallyport serve\n  sallyport serve --config gateway.yaml\n  sallyport serve --print-ready --set https.port=0 --set websocket.port=0 --set admin.port=0',
    )
    .action(async (options: { printReady?: boolean }, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const sources = configSources(terminal, globals);
      const loaded = loadConfig(sources);
      const { level, format } = loaded.config.log;
      const log = terminalLog(terminal, level, format);
      for (const warning of loaded.warnings) log.warn({ warning }, 'configuration warning');

      const config = new LiveConfig({ log }, loaded, sources);
      const stop = terminal.interrupted();
      // Loaded here, so that the other commands need not wait for it.
      const { startGateway } = await import('../../gateway/start-gateway.ts');
      const gateway = await startGateway({ log, config }, { signal: stop });
      config.watch();

      if (options.printReady) terminal.print(JSON.stringify(gateway.ready()));
      if (terminal.stderr.isTTY) terminal.printError(banner(terminal, gateway, globals));
      if (!stop.aborted) await once(stop, 'abort');
      config.unwatch();
      await gateway.stop();
    });
}
