import { Command } from 'commander';
import { systemClock } from '../../core/clock.ts';
import { createLogger } from '../../core/log.ts';
import { durationArgument, type GlobalOptions, loadForCommand } from '../context.ts';
import { print } from '../streams.ts';

export function prepareCertsCommand(): Command {
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
      const { config } = loadForCommand(self.optsWithGlobals<GlobalOptions>());
      const log = createLogger({ level: config.log.level, format: process.stderr.isTTY ? 'pretty' : 'json' });
      const components = { clock: systemClock, log, metrics: createMetrics({ process: false }) };
      const store = await openSecretStore(components, config.secretStore);
      try {
        const { bundle } = await prepareAllCerts(
          { ...components, store },
          { certificates: config.certificates, addresses: config.advertise.addresses },
          AbortSignal.timeout(options.timeout),
        );
        print(`CA sha256        ${bundle.ca.sha256}`);
        print(`hub certificate  ${bundle.server.sha256} until ${bundle.server.notAfter.toISOString()}`);
        print(`names            ${bundle.server.names.join(', ')}`);
        print(`Secrets          ${store.location}`);
      } finally {
        await store.close();
      }
    });
}
