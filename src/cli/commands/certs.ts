import type { CertificateInfo } from '../../contracts/certificate-issuer.ts';
import type { ServedCertificate } from '../../contracts/served-certificates.ts';
import { describeError } from '../../core/errors.ts';
import type { AdminRole } from '../../identity/admin-gate.ts';
import type { CertificatesAnswer } from '../certificates-answer.ts';
import { Argument, Command, InvalidArgumentError } from '../commander.ts';
import {
  connectAdmin,
  durationArgument,
  type GlobalOptions,
  loadForCommand,
  outputOption,
} from '../context.ts';
import { formatList, formatTable, formatValue, shortDuration } from '../output.ts';
import { needsRenewal, type RenewalNeed } from '../renewal-need.ts';
import type { Terminal } from '../terminal.ts';

export function certsCommand(terminal: Terminal): Command {
  const command = new Command('certs').description('show and rotate certificates');

  command
    .command('list')
    .description('list certificates with their expiry, and what each listener serves')
    .addOption(outputOption())
    .addHelpText('after', '\nExamples:\n  sallyport certs list\n  sallyport certs list -o json')
    .action(async (_options: unknown, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const admin = connectAdmin(terminal, globals);
      const answer = await admin.get<CertificatesAnswer>('/api/v1/certificates');
      const { items: served } = await admin.get<{ items: ServedCertificate[] }>(
        '/api/v1/certificates/served',
      );
      const format = globals.output ?? 'table';
      if (format === 'json' || format === 'yaml')
        return terminal.print(formatValue({ ...answer, served }, format));
      const now = Date.now();
      terminal.print(
        formatList<CertificateInfo>(answer.certificates, format, {
          name: ({ kind, serial }) => `${kind}/${serial}`,
          columns: [
            ['CERTIFICATE', (row) => row.kind],
            ['SECRET', (row) => row.secret],
            ['EXPIRES', (row) => row.notAfter],
            ['RESIDUAL TIME', (row) => residual(row, now)],
            ['AUTHORITY', (row) => authorityOf(row)],
            ['EXTERNALLY MANAGED', ({ external }) => (external ? 'yes' : 'no')],
            ['SUBJECT', (row) => row.subject],
            ['SHA256', (row) => row.sha256.slice(0, 16)],
          ],
        }),
      );
      if (format === 'name') return;
      const stored = answer.storedHubSha256;
      terminal.print('');
      terminal.print(
        formatTable(served, [
          ['REPLICA', (row) => row.replica],
          ['LISTENER', (row) => row.listener],
          ['STORED', () => stored?.slice(0, 16)],
          ['WANTED', (row) => row.wantedSha256.slice(0, 16)],
          ['SERVED', (row) => row.servedSha256?.slice(0, 16)],
          ['CURRENT', (row) => (row.servedSha256 === row.wantedSha256 ? 'yes' : 'no')],
          ['CHECKED', (row) => `${shortDuration(now - new Date(row.checkedAt).getTime())} ago`],
          ['PROBLEM', (row) => row.problem],
        ]),
      );
      if (answer.problem) terminal.printError(`\nthe newest Secrets are not in use: ${answer.problem}`);
    });

  addIssue(terminal, command);
  addNeedsRenewal(terminal, command);
  addInspect(terminal, command);
  command
    .command('accept')
    .description(
      'keep the stored hub certificate, also when it was taken back because nodes could not connect',
    )
    .action(async (_options: unknown, self: Command) => {
      const answer = await connectAdmin(
        terminal,
        self.optsWithGlobals<GlobalOptions>(),
      ).post<CertificatesAnswer>('/api/v1/certificates/accept');
      const hub = answer.certificates.find(({ kind }) => kind === 'hub');
      terminal.print(`hub certificate ${hub?.serial} is kept, expires ${hub?.notAfter}`);
    });

  const rotate = command.command('rotate').description('replace a certificate now');
  rotate
    .command('hub')
    .description(
      'issue a new hub certificate from the present CA and swap it in, without dropping a connection',
    )
    .addOption(outputOption())
    .action(async (_options: unknown, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const answer = await connectAdmin(terminal, globals).post<CertificatesAnswer>(
        '/api/v1/certificates/hub/rotate',
      );
      const hub = answer.certificates.find(({ kind }) => kind === 'hub');
      if (globals.output !== 'table' && globals.output !== undefined)
        return terminal.print(formatValue(answer, globals.output === 'json' ? 'json' : 'yaml'));
      terminal.print(`hub certificate rotated: serial ${hub?.serial}, expires ${hub?.notAfter}`);
    });

  return command;
}

function addIssue(terminal: Terminal, command: Command): void {
  command
    .command('issue')
    .description('make a client certificate for a person, from the CA in the Secret store')
    .addArgument(
      new Argument('<role>', 'viewer may read everything, operator may also change it').choices([
        'viewer',
        'operator',
      ] satisfies AdminRole[]),
    )
    .argument('<name>', 'who it is for; the audit names it', adminNameArgument)
    .option('--out <folder>', 'folder for key, certificate and CA (default: sallyport-admin-NAME)')
    .option('--days <days>', 'lifetime', daysArgument, 365)
    .option('--reason <text>', 'why, for the audit')
    .addHelpText(
      'after',
      '\nThe key is made here, and the CA key is read from the store: nothing is asked of a gateway. With audit.path the audit has a line of it, or no certificate is made.\n\nExamples:\n  sallyport certs issue viewer alice\n  sallyport certs issue operator bob --days 90 --out bob --reason "on call"',
    )
    .action(
      async (
        role: AdminRole,
        name: string,
        { out = `sallyport-admin-${name}`, days, reason }: { out?: string; days: number; reason?: string },
        self: Command,
      ) => {
        const { issueAdmin } = await import('../issue-admin.ts');
        const loaded = loadForCommand(terminal, self.optsWithGlobals<GlobalOptions>());
        await issueAdmin(terminal, loaded, { role, name, out, days, why: reason });
      },
    );
}

/** It is also the name of two files, beside `ca.crt`. */
function adminNameArgument(text: string): string {
  if (!/^\w[\w.@-]{0,63}$/.test(text) || text === 'ca')
    throw new InvalidArgumentError('write a name of letters, digits and _ . @ -, at most 64, and not "ca"');
  return text;
}

function daysArgument(text: string): number {
  const days = Number(text);
  if (!Number.isInteger(days) || days < 1 || days > 3_650)
    throw new InvalidArgumentError('write a number of days from 1 to 3650');
  return days;
}

function addNeedsRenewal(terminal: Terminal, command: Command): void {
  command
    .command('needs-renewal')
    .description('exit with 0 when no certificate needs anybody, 1 when one does, 2 when nobody can tell')
    .option(
      '--within <duration>',
      'count every certificate that ends within this; without it 30d, and for what Sallyport renews by itself whether that is overdue',
      durationArgument,
    )
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nExamples:\n  sallyport certs needs-renewal || echo "look at the certificates"\n  sallyport certs needs-renewal --within 180d -o json',
    )
    .action(async (options: { within?: number }, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      let all: RenewalNeed[];
      try {
        const { renewFraction } = loadForCommand(terminal, globals).config.certificates;
        const answer = await connectAdmin(terminal, globals).get<CertificatesAnswer>('/api/v1/certificates');
        all = needsRenewal(answer.certificates, {
          now: Date.now(),
          renewFraction,
          ...(options.within === undefined ? {} : { withinMs: options.within }),
        });
      } catch (error) {
        terminal.printError(`cannot tell: ${describeError(error)}`);
        terminal.exitCode = 2;
        return;
      }
      const due = all.filter(({ why }) => why !== undefined);
      if (due.length > 0) terminal.exitCode = 1;
      const format = globals.output ?? 'table';
      if (due.length === 0 && format === 'table') return terminal.print('no certificate needs renewal');
      terminal.print(
        formatList(
          due.map(({ certificate, why }) => ({ ...certificate, why })),
          format,
          {
            name: ({ kind, serial }) => `${kind}/${serial}`,
            columns: [
              ['CERTIFICATE', (row) => row.kind],
              ['SECRET', (row) => row.secret],
              ['EXPIRES', (row) => row.notAfter],
              ['RESIDUAL TIME', (row) => residual(row, Date.now())],
              ['WHY', (row) => row.why],
            ],
          },
        ),
      );
    });
}

function addInspect(terminal: Terminal, command: Command): void {
  command
    .command('inspect [target]')
    .description(
      'show certificates of a PEM or DER file, of host:port by a real handshake, or of secret/NAME; default: CA and hub certificate of the store',
    )
    .option('--servername <name>', 'name to ask an endpoint for (SNI); default: the host')
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nAn endpoint is held against the CAs of --ca FILE, else of the store; --cert and --key present a client certificate. Private keys are never shown, only whom they belong to.\n\nExamples:\n  sallyport certs inspect localhost:10002\n  sallyport certs inspect edge.crt\n  sallyport certs inspect secret/casecret -o json\n\nExits with 1 when an endpoint does not verify, or a key belongs to no certificate.',
    )
    .action(async (target: string | undefined, options: { servername?: string }, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const [{ inspect }, { formatInspected }] = await Promise.all([
        import('../inspect/inspect.ts'),
        import('../inspect/inspect-view.ts'),
      ]);
      const { config } = loadForCommand(terminal, globals);
      const found = await inspect(terminal, target, { ...globals, ...options, config, now: Date.now() });
      const format = globals.output ?? 'table';
      if (format === 'json' || format === 'yaml') terminal.print(formatValue(found, format));
      else if (format === 'name')
        terminal.print(
          found.flatMap(({ certificates }) => certificates.map(({ sha256 }) => sha256)).join('\n'),
        );
      else terminal.print(found.map((one) => formatInspected(terminal, one)).join('\n\n'));
      const isWrong = found.some(
        ({ keys, endpoint }) =>
          endpoint?.verified === false || keys.some(({ belongsTo }) => belongsTo === undefined),
      );
      if (isWrong) terminal.exitCode = 1;
    });
}

function residual({ notAfter }: Pick<CertificateInfo, 'notAfter'>, now: number): string {
  return shortDuration(Date.parse(notAfter) - now);
}

/** The CA that vouches for it; `<itself>` for a root. */
function authorityOf({ subject, issuer, kind }: CertificateInfo): string {
  return kind !== 'hub' && subject === issuer ? '<itself>' : issuer;
}
