import type { Revocation, RevocationReceipt } from '../../contracts/revocations.ts';
import { REVOCATION_REASONS } from '../../identity/revocation-reasons.ts';
import type { AdminClient } from '../admin/admin-client.ts';
import { Command, InvalidArgumentError, Option } from '../commander.ts';
import { connectAdmin, type GlobalOptions, nodeArgument, outputOption } from '../context.ts';
import { age, formatList, formatTable, formatValue, type ListView } from '../output.ts';
import type { Terminal } from '../terminal.ts';
import { UsageError } from '../usage-error.ts';

const API = '/api/v1/revocations';
/** What a decision may take on every replica (requirement G7), milliseconds. */
const WAIT_MS = 10_000;
const POLL_MS = 250;

interface TargetOptions {
  readonly serial?: string;
  readonly issuer?: string;
}

const view: ListView<Revocation> = {
  name: (row) => `revocation/${row.id}`,
  columns: [
    ['ID', (row) => row.id],
    ['KIND', kindOf],
    ['TARGET', targetOf],
    ['REASON', (row) => row.reason],
    ['AGE', (row) => age(row.at)],
    ['BY', (row) => row.by],
    ['NOTE', (row) => row.note],
  ],
};

export function revokeCommand(terminal: Terminal): Command {
  return new Command('revoke')
    .description('shut out a node, or one certificate, on every transport and replica; ends its session')
    .argument('[node]', 'the node', nodeArgument)
    .option('--serial <hex>', 'one certificate instead of a node', serialArgument)
    .option('--issuer <sha256>', 'with --serial: only the certificate of this CA')
    .addOption(
      new Option('--reason <reason>', 'why, in the words of RFC 5280')
        .choices(Object.keys(REVOCATION_REASONS))
        .default('unspecified'),
    )
    .option('--note <text>', 'a remark for people; the edge is not told')
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nExamples:\n  sallyport revoke edge-1 --reason keyCompromise --note "stolen, case 4711"\n  sallyport revoke --serial 4F1A09 --reason superseded',
    )
    .action(
      async (
        node: string | undefined,
        options: TargetOptions & { reason: string; note?: string },
        self: Command,
      ) => {
        const { reason, note } = options;
        const body = { ...targetBody(node, options), reason, ...(note === undefined ? {} : { note }) };
        await decide(terminal, self, { path: API, body, done: `${describe(node, options)} is revoked` });
      },
    );
}

export function quarantineCommand(terminal: Terminal): Command {
  return new Command('quarantine')
    .description('shut out a node for the time being; lift lets it in again with the certificate it has')
    .argument('<node>', 'the node', nodeArgument)
    .option('--note <text>', 'a remark for people; the edge is not told')
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nExamples:\n  sallyport quarantine edge-1 --note "behaves oddly"\n  sallyport lift edge-1',
    )
    .action(async (node: string, { note }: { note?: string }, self: Command) => {
      const body = { ...targetBody(node, {}), ...(note === undefined ? {} : { note }) };
      await decide(terminal, self, { path: `${API}/quarantine`, body, done: `node ${node} is quarantined` });
    });
}

export function liftCommand(terminal: Terminal): Command {
  return new Command('lift')
    .description('let a node or certificate in again')
    .argument('[node]', 'the node', nodeArgument)
    .option('--serial <hex>', 'one certificate instead of a node', serialArgument)
    .option('--issuer <sha256>', 'with --serial: the entry that names this CA')
    .option('--rejoin', 'the node may join again with a token, but its certificates of before stay out')
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nExamples:\n  sallyport lift edge-1              # found again: everything is as before\n  sallyport lift edge-1 --rejoin     # replaced: what was stolen stays out',
    )
    .action(
      async (node: string | undefined, options: TargetOptions & { rejoin?: boolean }, self: Command) => {
        if (options.rejoin && node === undefined)
          throw new UsageError('--rejoin goes with a node; a certificate cannot join again');
        const who = describe(node, options);
        const done = options.rejoin
          ? `${who} may join again with a token; its certificates of before stay revoked`
          : `${who} is let in again${node === undefined ? '' : ', with the certificate it has'}`;
        const body = { ...targetBody(node, options), ...(options.rejoin ? { rejoin: true } : {}) };
        await decide(terminal, self, { path: `${API}/lift`, body, done });
      },
    );
}

export function revocationsCommand(terminal: Terminal): Command {
  const command = new Command('revocations').description('list what is revoked, and who has seen it');
  command
    .command('list')
    .description('list revoked and quarantined nodes and certificates')
    .addOption(outputOption())
    .addHelpText('after', '\nExamples:\n  sallyport revocations list\n  sallyport revocations list -o json')
    .action(async (_options: unknown, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const { items } = await connectAdmin(terminal, globals).get<{ items: Revocation[] }>(API);
      if (items.length === 0 && globals.output === 'table') return terminal.printError('nothing is revoked');
      terminal.print(formatList(items, globals.output ?? 'table', view));
    });
  command
    .command('show <id>')
    .description('show one entry, and what each replica has done about it')
    .addOption(outputOption())
    .action(async (id: string, _options: unknown, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const receipt = await connectAdmin(terminal, globals).get<RevocationReceipt>(
        `${API}/${encodeURIComponent(id)}`,
      );
      printReceipt(terminal, receipt, globals.output ?? 'table');
    });
  return command;
}

/** Makes the decision, waits until every replica that is alive has it in force, and prints the receipt. */
async function decide(
  terminal: Terminal,
  self: Command,
  { path, body, done }: { path: string; body: object; done: string },
): Promise<void> {
  const globals = self.optsWithGlobals<GlobalOptions>();
  const admin = connectAdmin(terminal, globals);
  const first = await admin.post<RevocationReceipt & { readonly unknownNode?: boolean }>(path, body);
  terminal.printError(done);
  if (first.unknownNode) terminal.printError('no node of this name has ever been here; is the name right?');
  const receipt = await awaitReplicas(admin, first);
  printReceipt(terminal, receipt, globals.output ?? 'table');
  if (receipt.complete) return;
  terminal.printError(
    `not every replica has confirmed within ${WAIT_MS / 1000} s; one that cannot reach the store keeps its last list`,
  );
  terminal.exitCode = 1;
}

async function awaitReplicas(admin: AdminClient, first: RevocationReceipt): Promise<RevocationReceipt> {
  const { revocation, version } = first;
  const path = revocation ? `${API}/${revocation.id}` : `${API}/replicas`;
  const end = performance.now() + WAIT_MS;
  let receipt = first;
  while (!receipt.complete && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    const { replicas } = await admin.get<RevocationReceipt>(path);
    const complete = replicas.every((one) => !one.alive || one.version >= version);
    receipt = { ...first, replicas, complete };
  }
  return receipt;
}

function printReceipt(
  terminal: Terminal,
  receipt: RevocationReceipt,
  format: GlobalOptions['output'] = 'table',
): void {
  const { revocation, version } = receipt;
  if (format === 'json' || format === 'yaml') terminal.print(formatValue(receipt, format));
  else if (format === 'name') terminal.print(revocation ? view.name(revocation) : `version/${version}`);
  else {
    if (revocation) terminal.print(`${formatTable([revocation], view.columns)}\n`);
    terminal.print(formatReplicas(receipt));
  }
}

function formatReplicas({ revocation, version, replicas }: RevocationReceipt): string {
  return formatTable(replicas, [
    ['REPLICA', (row) => row.replica],
    ['VERSION', (row) => `${row.version}/${version}`],
    ['STATE', (row) => (row.version >= version ? 'in force' : row.alive ? 'waiting' : 'not heard of')],
    ['SINCE', (row) => (row.version >= version ? row.appliedAt : row.aliveAt)],
    ['CLOSED', (row) => (revocation ? sessionsOf(row.closed) : undefined)],
  ]);
}

function sessionsOf(closed: RevocationReceipt['replicas'][number]['closed']): string | undefined {
  if (closed.length === 0) return undefined;
  return closed.map(({ sessionId, transport, at }) => `${sessionId} (${transport}) at ${at}`).join(', ');
}

function kindOf({ kind, reason, rejoinedBefore }: Revocation): string {
  if (kind === 'certificate') return 'certificate';
  if (rejoinedBefore !== undefined) return 'old certificates';
  return reason === 'certificateHold' ? 'quarantine' : 'node';
}

function targetOf({ node, serial }: Revocation): string | undefined {
  return node ?? serial;
}

function targetBody(node: string | undefined, { serial, issuer }: TargetOptions): object {
  if ((node === undefined) === (serial === undefined))
    throw new UsageError('name one node, or one certificate with --serial');
  if (serial === undefined && issuer !== undefined) throw new UsageError('--issuer goes with --serial');
  if (node !== undefined) return { node };
  return { serial, ...(issuer === undefined ? {} : { issuerSha256: issuer.toLowerCase() }) };
}

function describe(node: string | undefined, { serial }: TargetOptions): string {
  return node === undefined ? `certificate ${serial}` : `node ${node}`;
}

function serialArgument(text: string): string {
  if (!/^[0-9a-f]{1,40}$/i.test(text.replace(/[: ]/g, '')))
    throw new InvalidArgumentError('write the serial number in hexadecimal');
  return text;
}
