import { systemClock } from '../../core/clock.ts';
import type { Finding } from '../adopt/adoption-report.ts';
import { Command } from '../commander.ts';
import { type GlobalOptions, loadForCommand, outputOption } from '../context.ts';
import { formatTable, formatValue } from '../output.ts';
import type { Terminal } from '../terminal.ts';
import { terminalLog } from '../terminal-log.ts';
import { UsageError } from '../usage-error.ts';

export function adoptCommand(terminal: Terminal): Command {
  return new Command('adopt')
    .description(
      'show what a gateway in a KubeEdge cluster would find, change and break; CloudCore keeps running',
    )
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
            ['OBJECT', ({ object }) => object],
            ['WHAT', ({ text }) => text],
          ]),
        );
      if (findings.some(({ level }) => level === 'blocks')) terminal.exitCode = 1;
    });
}

async function look(terminal: Terminal, globals: GlobalOptions): Promise<readonly Finding[]> {
  const [{ openStore }, { reportAdoption }, { findCloudCore, reportCloudCore }, { parseAdvertisedNames }] =
    await Promise.all([
      import('../doctor/open-store.ts'),
      import('../adopt/adoption-report.ts'),
      import('../adopt/cloudcore.ts'),
      import('../../certs/x509/advertised-names.ts'),
    ]);
  const { config } = loadForCommand(terminal, globals);
  const components = { clock: systemClock, log: terminalLog(terminal, 'error') };
  const { store, kube, close } = await openStore(components, config);
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
    const ofSecrets = await reportAdoption(components, snapshot, {
      ...config,
      names: parseAdvertisedNames(config.advertise.addresses),
    });
    return kube ? [...ofSecrets, ...reportCloudCore(await findCloudCore(kube), config)] : ofSecrets;
  } finally {
    await close();
  }
}
