import { request } from 'node:https';
import { describeError, SallyportError } from '../../core/errors.ts';
import { Command } from '../commander.ts';
import { type GlobalOptions, loadForCommand, reachable } from '../context.ts';
import type { Terminal } from '../terminal.ts';

export function healthCommand(terminal: Terminal): Command {
  return new Command('health')
    .description('ask the HTTPS port of the running gateway whether it is ready; for container health checks')
    .option('--live', 'ask whether it is alive instead')
    .option('--verbose', 'print every check')
    .action(async (options: { live?: boolean; verbose?: boolean }, self: Command) => {
      const { config } = loadForCommand(terminal, self.optsWithGlobals<GlobalOptions>());
      const path = `${options.live ? '/livez' : '/readyz'}${options.verbose ? '?verbose' : ''}`;
      // The probe carries no secret and decides nothing, and it must tell "expired certificate" from "down":
      // it does not verify.
      const { status, text } = await new Promise<{ status: number; text: string }>((resolve, reject) => {
        const target = {
          host: reachable(config.https.host).replace(/[[\]]/g, ''),
          port: config.https.port,
          path,
        };
        const call = request(
          { ...target, rejectUnauthorized: false, timeout: 5_000, agent: false },
          (response) => {
            let body = '';
            response.setEncoding('utf8');
            response.on('data', (chunk: string) => {
              body += chunk;
            });
            response.on('end', () => resolve({ status: response.statusCode ?? 0, text: body.trim() }));
          },
        );
        call.on('timeout', () => call.destroy(new Error('no answer within 5 s')));
        call.on('error', (cause) =>
          reject(
            new SallyportError(
              'ADMIN_UNREACHABLE',
              { address: `${target.host}:${target.port}`, problem: describeError(cause) },
              cause,
            ),
          ),
        );
        call.end();
      });
      terminal.print(text);
      if (status !== 200) terminal.exitCode = 1;
    });
}
