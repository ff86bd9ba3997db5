import { Content } from '../../protocol/content.ts';
import { OPERATIONS } from '../../protocol/operations.ts';
import { Command, Option } from '../commander.ts';
import {
  connectAdmin,
  durationArgument,
  type GlobalOptions,
  nodeArgument,
  outputOption,
} from '../context.ts';
import { formatValue } from '../output.ts';
import type { Terminal } from '../terminal.ts';
import { UsageError } from '../usage-error.ts';

interface SendOptions {
  readonly resource: string;
  readonly operation?: string;
  readonly answer?: string;
  readonly content: string;
  readonly group?: string;
  readonly source?: string;
  readonly id?: string;
  readonly ack?: boolean;
  readonly timeout: number;
}

export function sendCommand(terminal: Terminal): Command {
  return new Command('send')
    .description('send a message to a node')
    .argument('<node>', 'the node', nodeArgument)
    .requiredOption('--resource <resource>', 'for example default/configmap/demo')
    .addOption(
      new Option('--operation <operation>', 'what it asks for; of an answer: response or error').choices(
        OPERATIONS,
      ),
    )
    .option('--answer <id>', 'answer the message of the node with this id; watch -o json shows ids')
    .option('--content <json>', 'any JSON', 'null')
    .option('--group <group>', 'message group')
    .option('--source <source>', 'message source')
    .option('--id <id>', 'id of the message: repeat the command with the same one, and it is sent once')
    .option('--ack', 'wait until the node has acknowledged')
    .option('--timeout <duration>', 'with --ack: how long to wait', durationArgument, 30_000)
    .addOption(outputOption())
    .addHelpText(
      'after',
      `\nExamples:\n  sallyport send edge-1 --resource default/configmap/demo --operation update --content '{"a":1}'\n  sallyport send edge-1 --resource app/reload --operation update --content null --ack\n  sallyport send edge-1 --answer 4b2e… --resource app/config --content '{"a":1}'`,
    )
    .action(async (node: string, options: SendOptions, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const answer = await connectAdmin(terminal, globals).post<{ kind: string }>(
        `/api/v1/nodes/${encodeURIComponent(node)}/messages`,
        {
          resource: options.resource,
          operation: operationOf(options),
          ...(options.answer === undefined ? {} : { parent_msg_id: options.answer }),
          content: parseContent(options.content),
          ...(options.group ? { group: options.group } : {}),
          ...(options.source ? { source: options.source } : {}),
          ...(options.id === undefined ? {} : { id: options.id }),
          wait: options.ack ? 'ack' : 'queued',
          ...(options.ack ? { timeoutMs: options.timeout } : {}),
        },
        { timeoutMs: options.timeout + 5_000 },
      );
      if (globals.output === 'json' || globals.output === 'yaml')
        terminal.print(formatValue(answer, globals.output));
      else terminal.print(answer.kind);
      if (options.ack && answer.kind !== 'acknowledged' && answer.kind !== 'sent') terminal.exitCode = 1;
    });
}

function operationOf({ operation, answer }: SendOptions): string {
  if (operation !== undefined) return operation;
  if (answer !== undefined) return 'response';
  throw new UsageError('--operation is needed, for example update; only an answer (--answer) does without');
}

/** The JSON as it was typed. */
function parseContent(text: string): Content {
  try {
    return Content.check(Buffer.from(text.trim()));
  } catch {
    throw new UsageError(`--content is not JSON; a text needs quotes of its own: --content '"${text}"'`);
  }
}
