import { valueAt } from '../../config/live-config.ts';
import { configJsonSchema, listSettings } from '../../config/settings.ts';
import { Command } from '../commander.ts';
import { type GlobalOptions, loadForCommand } from '../context.ts';
import { formatTable, formatValue } from '../output.ts';
import type { Terminal } from '../terminal.ts';

export function configCommand(terminal: Terminal): Command {
  const command = new Command('config').description('show and explain the configuration');

  command
    .command('view')
    .description('print the configuration in force')
    .option('--show-origin', 'show where each value comes from')
    .addHelpText(
      'after',
      '\nExamples:\n  sallyport config view\n  sallyport config view --show-origin --set https.port=0',
    )
    .action((options: { showOrigin?: boolean }, self: Command) => {
      const { config, origins, warnings } = loadForCommand(terminal, self.optsWithGlobals<GlobalOptions>());
      for (const warning of warnings) terminal.printError(`warning: ${warning}`);
      if (!options.showOrigin) return terminal.print(formatValue(config, 'yaml'));
      const rows = listSettings().map(({ path }) => ({
        path,
        value: valueAt(config, path.split('.')),
        origin: origins.get(path) ?? 'default',
      }));
      terminal.print(
        formatTable(rows, [
          ['SETTING', (row) => row.path],
          ['VALUE', (row) => (row.value === undefined ? undefined : JSON.stringify(row.value))],
          ['ORIGIN', (row) => row.origin],
        ]),
      );
    });

  command
    .command('schema')
    .description('print the JSON Schema of the configuration file')
    .action(() => terminal.print(formatValue(configJsonSchema(), 'json')));

  return command;
}
