import { Command } from 'commander';
import { systemClock } from '../../core/clock.ts';
import type { Finding } from '../adopt/adoption-report.ts';
import { type GlobalOptions, loadForCommand, outputOption } from '../context.ts';
import { formatTable, formatValue } from '../output.ts';
import type { Terminal } from '../terminal.ts';
import { UsageError } from '../usage-error.ts';

export function adoptCommand(terminal: Terminal): Command {
  return new Command('adopt')
    .description("show what taking over a KubeEdge cluster's Secrets would find, change and break")
    .option('--dry-run', 'look only; the gateway itself adopts when it starts')
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nExamples:\n  sallyport adopt --dry-run --set secretStore.kind=kubernetes\n  sallyport adopt --dry-run -o json\n\nExits with 1 when something would keep the gateway from starting.',
    )
    .action(async (options: { dryRun?: boolean }, self: Command) => {
      if (!options.dryRun)
        throw new UsageError(
          'a gateway adopts by itself when it starts (sallyport serve); use --dry-run to see beforehand what it would do',
        );
      const globals = self.optsWithGlobals<GlobalOptions>();
      const findings = await look(terminal, globals);
      const format = globals.output ?? 'table';
      if (format === 'json' || format === 'yaml') terminal.print(formatValue(findings, format));
      else
        terminal.print(
          formatTable<Finding>(findings, [
            ['', ({ level }) => level.toUpperCase()],
            ['SECRET', ({ secret }) => secret],
            ['WHAT', ({ text }) => text],
          ]),
        );
      if (findings.some(({ level }) => level === 'blocks')) terminal.exitCode = 1;
    });
}

async function look(terminal: Terminal, globals: GlobalOptions): Promise<readonly Finding[]> {
  const [{ openSecretStore }, { reportAdoption }, { parseAdvertisedNames }, { createMetrics }] =
    await Promise.all([
      import('../../secrets/open-secret-store.ts'),
      import('../adopt/adoption-report.ts'),
      import('../../certs/x509/advertised-names.ts'),
      import('../../core/metrics.ts'),
    ]);
  const { config } = loadForCommand(terminal, globals);
  const log = terminal.log('error');
  const components = { clock: systemClock, log, metrics: createMetrics({ process: false }) };
  const store = await openSecretStore(components, config.secretStore);
  try {
    const { certificates, tokens } = config;
    const names = [
      certificates.caSecret,
      certificates.hubSecret,
      certificates.trustSecret,
      tokens.fleetSecret,
      tokens.stateSecret,
      certificates.revocationSecret,
      certificates.historySecret,
      certificates.replicaSecret,
    ];
    const snapshot = new Map(
      await Promise.all(names.map(async (name) => [name, await store.get(name)] as const)),
    );
    return await reportAdoption(components, snapshot, {
      ...config,
      names: parseAdvertisedNames(config.advertise.addresses),
    });
  } finally {
    await store.close();
  }
}
