import { systemClock } from '../../core/clock.ts';
import { Command } from '../commander.ts';
import { durationArgument, type GlobalOptions, loadForCommand } from '../context.ts';
import type { Terminal } from '../terminal.ts';
import { terminalLog } from '../terminal-log.ts';

export function prepareCertsCommand(terminal: Terminal): Command {
  return new Command('prepare-certs')
    .description(
      'create or check CA and hub certificate in the Secret store, then exit; usable as an init job',
    )
    .option('--timeout <duration>', 'how long to wait for the store', durationArgument, 60_000)
    .action(async (options: { timeout: number }, self: Command) => {
      const [{ openSecretStore }, { prepareAllCerts }, { createMetrics }] = await Promise.all([
        import('../../secrets/open-secret-store.ts'),
        import('../../certs/prepare-all-certs.ts'),
        import('../../core/metrics.ts'),
      ]);
      const { config } = loadForCommand(terminal, self.optsWithGlobals<GlobalOptions>());
      const log = terminalLog(terminal, config.log.level);
      const components = { clock: systemClock, log, metrics: createMetrics({ process: false }) };
      const store = await openSecretStore(components, config.secretStore);
      try {
        const { bundle } = await prepareAllCerts(
          { ...components, store },
          { certificates: config.certificates, addresses: config.advertise.addresses },
          AbortSignal.timeout(options.timeout),
        );
        terminal.print(`CA sha256        ${bundle.ca.sha256}`);
        terminal.print(
          `hub certificate  ${bundle.server.sha256} until ${bundle.server.notAfter.toISOString()}`,
        );
        terminal.print(`names            ${bundle.server.names.join(', ')}`);
        terminal.print(`Secrets          ${store.location}`);
      } finally {
        await store.close();
      }
    });
}
