import { Command } from 'commander';
import type { CertificateInfo, CertificateStatus } from '../../contracts/certificate-issuer.ts';
import type { ServedCertificate } from '../../contracts/served-certificates.ts';
import { connectAdmin, type GlobalOptions, outputOption } from '../context.ts';
import { formatList, formatTable, formatValue, shortDuration } from '../output.ts';
import { print, printError } from '../streams.ts';

/** What `GET /api/v1/certificates` answers. */
export interface CertificatesAnswer extends CertificateStatus {
  readonly listeners: readonly {
    readonly name: string;
    readonly address: string;
    readonly servedFingerprint: string;
  }[];
}

export function certsCommand(): Command {
  const command = new Command('certs').description('show and rotate certificates');

  command
    .command('list')
    .description('list certificates with their expiry, and what each listener serves')
    .addOption(outputOption())
    .addHelpText('after', '\nExamples:\n  sallyport certs list\n  sallyport certs list -o json')
    .action(async (_options: unknown, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const admin = connectAdmin(globals);
      const answer = await admin.get<CertificatesAnswer>('/api/v1/certificates');
      const { items: served } = await admin.get<{ items: ServedCertificate[] }>(
        '/api/v1/certificates/served',
      );
      const format = globals.output ?? 'table';
      if (format === 'json' || format === 'yaml') return print(formatValue({ ...answer, served }, format));
      const now = Date.now();
      print(
        formatList<CertificateInfo>(answer.certificates, format, {
          name: ({ kind, serial }) => `${kind}/${serial}`,
          columns: [
            ['KIND', (row) => row.kind],
            ['SECRET', (row) => row.secret],
            ['SUBJECT', (row) => row.subject.replaceAll('\n', ', ')],
            ['EXPIRES', (row) => row.notAfter],
            ['RESIDUAL', (row) => shortDuration(new Date(row.notAfter).getTime() - now)],
            ['MANAGED', (row) => (row.managed ? 'yes' : 'no')],
            ['SHA256', (row) => row.sha256.slice(0, 16)],
          ],
        }),
      );
      if (format === 'name') return;
      const stored = answer.storedHubSha256;
      print('');
      print(
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
      if (answer.problem) printError(`\nthe newest Secrets are not in use: ${answer.problem}`);
    });

  command
    .command('accept')
    .description(
      'keep the stored hub certificate, also when it was taken back because nodes could not connect',
    )
    .action(async (_options: unknown, self: Command) => {
      const answer = await connectAdmin(self.optsWithGlobals<GlobalOptions>()).post<CertificatesAnswer>(
        '/api/v1/certificates/accept',
      );
      const hub = answer.certificates.find(({ kind }) => kind === 'hub');
      print(`hub certificate ${hub?.serial} is kept, expires ${hub?.notAfter}`);
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
      const answer = await connectAdmin(globals).post<CertificatesAnswer>('/api/v1/certificates/hub/rotate');
      const hub = answer.certificates.find(({ kind }) => kind === 'hub');
      if (globals.output !== 'table' && globals.output !== undefined)
        return print(formatValue(answer, globals.output === 'json' ? 'json' : 'yaml'));
      print(`hub certificate rotated: serial ${hub?.serial}, expires ${hub?.notAfter}`);
    });

  return command;
}
