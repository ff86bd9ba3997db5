import { systemClock } from '../../core/clock.ts';
import { createLogger } from '../../core/pino-log.ts';
import { Command } from '../commander.ts';
import {
  adminAddressOf,
  connectAdmin,
  type GlobalOptions,
  loadForCommand,
  outputOption,
} from '../context.ts';
import type { EdgeTargetOptions } from '../doctor/edge-target.ts';
import type { Finding } from '../doctor/finding.ts';
import { exitCodeOf, formatFindings } from '../doctor/view.ts';
import type { Terminal } from '../terminal.ts';
import { UsageError } from '../usage-error.ts';

interface DoctorOptions extends EdgeTargetOptions {
  readonly color: boolean;
}

export function doctorCommand(terminal: Terminal): Command {
  return new Command('doctor')
    .description('find out what is wrong with a gateway, or from an edge why it cannot be reached')
    .option('--from-edge <host:port>', 'run on the edge: check the way to this hub; needs no configuration')
    .option(
      '--ca-hash <sha256>',
      'with --from-edge: SHA-256 of the CA certificate, first part of every token',
    )
    .option('--token <token>', 'with --from-edge: join token to compare with (default: $SALLYPORT_TOKEN)')
    .option('--token-file <file>', 'with --from-edge: file that holds the token')
    .option('--state <folder>', 'with --from-edge: where the node keeps key and certificate')
    .option('--websocket-port <port>', 'with --from-edge', '10000')
    .option('--quic-port <port>', 'with --from-edge', '10001')
    .option('--no-color', 'no colours, as with NO_COLOR')
    .addOption(outputOption())
    .addHelpText(
      'after',
      `
√ fine, ‼ warning, × failure, · does not apply. Exit code: 0 all is well, 1 warnings, 2 failures.
Each failing line has one hint and the section of docs/troubleshooting.md that explains it.

Examples:
  sallyport doctor
  kubectl exec deploy/sallyport -- sallyport doctor -o json
  sallyport doctor --from-edge hub.example.com:10002 --state /var/lib/edge-1`,
    )
    .action(async (options: DoctorOptions, self: Command) => {
      const globals = self.optsWithGlobals<GlobalOptions>();
      const findings =
        options.fromEdge === undefined
          ? await checkHere(terminal, globals)
          : await checkFromEdge(terminal, options, globals);
      const colour = options.color && terminal.stdout.isTTY === true && !terminal.env.NO_COLOR;
      terminal.print(formatFindings(findings, { format: globals.output ?? 'table', colour }));
      terminal.exitCode = exitCodeOf(findings);
    });
}

/** Without an edge in the options: the gateway of this configuration. @throws CONFIG_INVALID and the like */
export async function checkHere(terminal: Terminal, globals: GlobalOptions): Promise<readonly Finding[]> {
  const [{ examine }, { diagnose }, { openStore }] = await Promise.all([
    import('../doctor/patient.ts'),
    import('../doctor/diagnose.ts'),
    import('../doctor/open-store.ts'),
  ]);
  const { config } = loadForCommand(terminal, globals);
  // What a store says of its troubles stands in the findings.
  const log = createLogger({ level: 'silent', format: 'json' });
  const { store, kube, close } = await openStore({ clock: systemClock, log }, config);
  try {
    const patient = await examine(
      { config, clock: systemClock, store, kube, connect: () => connectAdmin(terminal, globals) },
      adminAddressOf(terminal, globals, config),
    );
    return await diagnose(patient);
  } finally {
    await close();
  }
}

/** @throws UsageError */
export async function checkFromEdge(
  terminal: Terminal,
  options: EdgeTargetOptions,
  globals: Pick<GlobalOptions, 'cert' | 'key'>,
): Promise<readonly Finding[]> {
  const [{ diagnoseFromEdge }, { readEdgeTarget }] = await Promise.all([
    import('../doctor/from-edge.ts'),
    import('../doctor/edge-target.ts'),
  ]);
  const target = await readEdgeTarget(options, globals, terminal.env.SALLYPORT_TOKEN);
  if (typeof target === 'string') throw new UsageError(target);
  return diagnoseFromEdge(target, systemClock);
}
