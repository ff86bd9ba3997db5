import { Command } from 'commander';
import { LiveConfig } from '../../config/live-config.ts';
import { loadConfig } from '../../config/load.ts';
import { createLogger } from '../../core/log.ts';
import type { Gateway } from '../../gateway/start-gateway.ts';
import { banner } from '../banner.ts';
import { configSources, type GlobalOptions } from '../context.ts';
import { print, printError } from '../streams.ts';

export function serveCommand(): Command {
  return new Command('serve')
    .description('run the gateway')
    .option('--print-ready', 'print one line of JSON on standard output once ready')
    .addHelpText(
      'after',
      '\nExamples:\n  sallyport serve\n  sallyport serve --config gateway.yaml\n  sallyport serve --print-ready --set https.port=0 --set websocket.port=0 --set admin.port=0',
    )
    .action(async (options: { printReady?: boolean }, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const sources = configSources(globals);
      const loaded = loadConfig(sources);
      const { level, format } = loaded.config.log;
      const isTerminal = process.stderr.isTTY === true;
      const log = createLogger({
        level,
        format: format === 'auto' ? (isTerminal ? 'pretty' : 'json') : format,
      });
      for (const warning of loaded.warnings) log.warn({ warning }, 'configuration warning');

      const config = new LiveConfig({ log }, loaded, sources);
      const starting = new AbortController();
      const stopped = untilSignal(() => starting.abort(new Error('stopped by a signal while starting')));
      // Loaded here, so that the other commands need not wait for it.
      const { startGateway } = await import('../../gateway/start-gateway.ts');
      const gateway = await startGateway({ log, config }, { signal: starting.signal });
      config.watch();

      if (options.printReady) print(JSON.stringify(gateway.ready()));
      if (isTerminal) printError(banner(gateway, globals));
      await stopped;
      config.unwatch();
      await stopOnce(gateway);
    });
}

/** Resolves at the first SIGINT or SIGTERM; a second one ends the process at once. */
function untilSignal(onFirst: () => void): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    const onSignal = () => {
      if (asked) process.exit(1);
      asked = true;
      onFirst();
      resolve();
    };
    process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  });
}

async function stopOnce(gateway: Gateway): Promise<void> {
  await gateway.stop();
  // Whatever a library left open must not keep a stopped gateway alive.
  setTimeout(() => process.exit(), 1_000).unref();
}
