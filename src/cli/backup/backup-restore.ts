import { checkBackup } from '../../backup/backup-check.ts';
import { backupNames } from '../../backup/backup-names.ts';
import { readLiving, runRestore } from '../../backup/restore-backup.ts';
import { planRestore, type RestorePlan, type RestoreStep } from '../../backup/restore-plan.ts';
import { systemClock } from '../../core/clock.ts';
import { type GlobalOptions, loadForCommand } from '../context.ts';
import { withStore } from '../open-store.ts';
import { formatTable, formatValue } from '../output.ts';
import type { Terminal } from '../terminal.ts';
import { connectedNodes, openBackup, someOf } from './opened-backup.ts';
import { confirm } from './passphrase.ts';

export interface RestoreOptions {
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly force?: boolean;
  readonly revokeTokens?: boolean;
  readonly passphraseFile?: string;
}

/**
 * `backup restore`: says what it would write and break, asks, then writes. @throws RESTORE_REFUSED and others
 */
export async function restoreBackup(
  terminal: Terminal,
  file: string,
  options: RestoreOptions,
  globals: GlobalOptions,
): Promise<void> {
  const { config } = loadForCommand(terminal, globals);
  const backup = await openBackup(terminal, file, options);
  const [names, force] = [backupNames(config), options.force === true];
  const { findings } = checkBackup(backup, { clock: systemClock });
  const bad = findings.filter(({ level }) => level === 'bad');
  await withStore(terminal, { config }, async (store) => {
    const living = await readLiving(store, backup, names);
    const wish = { names, force, revokeTokens: options.revokeTokens === true };
    const planned = planRestore({ clock: systemClock }, { backup, living }, wish);
    const plan: RestorePlan = {
      ...planned,
      breaks: [...planned.breaks, ...(await nodesOf(terminal, planned.lostCa, globals))],
      refused: [
        ...planned.refused,
        ...(force ? [] : bad.map(({ what, text }) => `the backup's ${what} is no good: ${text}`)),
      ],
    };
    const format = globals.output === 'json' || globals.output === 'yaml' ? globals.output : undefined;
    if (!format)
      printPlan(terminal, plan, { from: `${file}, made at ${backup.createdAt}`, to: store.location });
    const count = plan.steps.filter(({ write }) => write).length;
    if (options.dryRun || plan.refused.length > 0) {
      if (format) terminal.print(formatValue({ ...withoutValues(plan), written: [] }, format));
      else terminal.print('\nnothing was written');
      if (plan.refused.length > 0) terminal.exitCode = 1;
      return;
    }
    if (
      count > 0 &&
      !options.yes &&
      !(await confirm(`\n${count} Secret(s) will be written to ${store.location}.`, terminal.prompt))
    ) {
      terminal.printError('nothing was written');
      terminal.exitCode = 1;
      return;
    }
    const written = await runRestore(store, plan);
    if (format) terminal.print(formatValue({ ...withoutValues(plan), written }, format));
    else printOutcome(terminal, written, plan);
  });
}

/** Which nodes would be cut off, as far as a gateway that still runs can tell. */
async function nodesOf(
  terminal: Terminal,
  lostCa: string | undefined,
  globals: GlobalOptions,
): Promise<string[]> {
  if (lostCa === undefined) return [];
  const asked = await connectedNodes(terminal, globals);
  if ('problem' in asked)
    return [`which nodes depend on the CA that would be lost is not known: ${asked.problem}`];
  const lost = asked.nodes.filter(({ certificate }) => certificate.issuerSha256 === lostCa);
  if (lost.length === 0)
    return [`none of the ${asked.nodes.length} connected nodes chains to the CA that would be lost`];
  return [
    `${lost.length} of ${asked.nodes.length} connected nodes chain to the CA that would be lost: ${someOf(lost.map(({ node }) => node))}`,
  ];
}

/** What may be printed: the Secrets to write stay out. */
function withoutValues({ steps, ...plan }: RestorePlan) {
  return { ...plan, steps: steps.map(({ role, name, action, text }) => ({ role, name, action, text })) };
}

function printPlan(
  terminal: Terminal,
  { steps, breaks, refused }: RestorePlan,
  { from, to }: { from: string; to: string },
): void {
  const { yellow, red } = terminal.paint('stdout');
  terminal.print(`from ${from}\nto   ${to}\n`);
  terminal.print(
    formatTable<RestoreStep>(steps, [
      ['SECRET', ({ name }) => name],
      ['ACTION', ({ action }) => action],
      ['WHAT', ({ text }) => text],
    ]),
  );
  if (breaks.length > 0)
    terminal.print(`\nKnow before:\n${breaks.map((text) => `  ${yellow('!')} ${text}`).join('\n')}`);
  if (refused.length > 0)
    terminal.print(
      `\nRefused without --force:\n${refused.map((text) => `  ${red('x')} ${text}`).join('\n')}`,
    );
}

function printOutcome(terminal: Terminal, written: readonly string[], { lostCa }: RestorePlan): void {
  if (written.length === 0) {
    terminal.print('\neverything is there already; nothing was written');
    return;
  }
  const next = [
    'start the gateways: the hub certificate and the fleet token are issued anew',
    'look: sallyport certs list; sallyport nodes list',
    'revoke again who was revoked after the backup: sallyport revoke NODE',
    'when tokens may be in wrong hands: sallyport token revoke-all',
    ...(lostCa ? ['nodes of the CA that was replaced join again with a new token'] : []),
    'make a new backup: sallyport backup create --out FILE',
  ];
  terminal.print(
    `\nwritten: ${written.join(', ')}\n\nNext:\n${next.map((text, index) => `  ${index + 1}. ${text}`).join('\n')}`,
  );
}
