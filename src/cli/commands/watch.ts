import { setTimeout } from 'node:timers/promises';
import type { HubEvent, Missed } from '../../contracts/message-bus.ts';
import { printable } from '../../core/printable.ts';
import { Command, Option } from '../commander.ts';
import { connectAdmin, type GlobalOptions, outputOption } from '../context.ts';
import type { Terminal } from '../terminal.ts';

/** After an interruption it is tried again this much later. */
const AGAIN_MS = 500;

type Told = HubEvent | ({ readonly type: 'missed' } & Missed);

/** What the gateway is asked for. */
const DIRECTIONS = {
  upstream: 'direction=upstream',
  downstream: 'direction=downstream',
  both: 'direction=upstream&direction=downstream',
};

export function watchCommand(terminal: Terminal): Command {
  return new Command('watch')
    .description('follow what nodes send or are sent, live, until interrupted')
    .option('--node <name>', 'only this node')
    .addOption(
      new Option('--direction <direction>', 'what nodes send, what is sent to them, or both')
        .choices(Object.keys(DIRECTIONS))
        .default('upstream'),
    )
    .option('--group <group>', 'only messages of this group')
    .option('--operation <operation>', 'only messages of this operation')
    .option('--resource <prefix>', 'only resources that begin so')
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nExamples:\n  sallyport watch\n  sallyport watch --node edge-1 --direction both -o json',
    )
    .action(
      async (
        options: {
          node?: string;
          direction: keyof typeof DIRECTIONS;
          group?: string;
          operation?: string;
          resource?: string;
        },
        self: Command,
      ) => {
        const globals = self.optsWithGlobals<GlobalOptions>();
        const query = new URLSearchParams(DIRECTIONS[options.direction]);
        for (const [name, value] of [
          ['node', options.node],
          ['group', options.group],
          ['operation', options.operation],
          ['resourcePrefix', options.resource],
        ] as const) {
          if (value !== undefined) query.set(name, value);
        }
        const signal = terminal.interrupted();
        let isSaid = false;
        const again = async () => {
          if (!isSaid) terminal.printError('the stream was interrupted; it is followed again');
          isSaid = true;
          await setTimeout(AGAIN_MS, undefined, { signal }).catch(() => {});
        };
        for await (const { data, text } of connectAdmin(terminal, globals).events(`/api/v1/events?${query}`, {
          signal,
          again,
        })) {
          isSaid = false;
          terminal.print(globals.output === 'json' ? text : describe(terminal, data as Told));
        }
      },
    );
}

function describe(terminal: Terminal, event: Told): string {
  const { bold, dim, green, yellow } = terminal.paint('stdout');
  const time = dim(new Date().toISOString().slice(11, 23));
  switch (event.type) {
    case 'missed': {
      if (event.direction === 'downstream')
        return `${time} ${yellow('what nodes were sent meanwhile was not kept')}`;
      const what =
        event.count === undefined ? 'events may have been missed' : `events missed: ${event.count}`;
      return `${time} ${yellow(what)}, of any node and kind; the gateway keeps them no more`;
    }
    case 'connected':
      return `${time} ${bold(event.node)} ${green('connected')} over ${event.transport}`;
    case 'disconnected':
      return `${time} ${bold(event.node)} ${yellow('disconnected')}: ${printable(event.reason)}`;
    case 'message': {
      const { operation = '', resource = '' } = event.message.route;
      const what = printable(`${operation} ${resource} ${JSON.stringify(event.message.content)}`);
      const way = event.direction === 'downstream' ? 'to ' : '';
      return `${time} ${way}${bold(event.node)} ${what}`;
    }
  }
}
