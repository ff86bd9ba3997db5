import { type BackupFinding, checkBackup, coverNodes, type NodeCoverage } from '../../backup/backup-check.ts';
import { type Backup, findSecret } from '../../backup/backup-content.ts';
import { backupNames } from '../../backup/backup-names.ts';
import { readLiving } from '../../backup/restore-backup.ts';
import { planRestore, type RestoreStep } from '../../backup/restore-plan.ts';
import { decodeRevocations } from '../../certs/revocation/revocation-codec.ts';
import type { LoadedConfig } from '../../config/load.ts';
import { systemClock } from '../../core/clock.ts';
import { describeError } from '../../core/errors.ts';
import { type GlobalOptions, loadForCommand } from '../context.ts';
import { withStore } from '../open-store.ts';
import { formatValue } from '../output.ts';
import type { Terminal } from '../terminal.ts';
import { printFindings } from './backup-view.ts';
import { connectedNodes, openBackup, someOf } from './opened-backup.ts';

/** What `-o json` prints. */
export interface Verification {
  readonly file: string;
  readonly createdAt: string;
  readonly findings: readonly BackupFinding[];
  readonly nodes?: NodeCoverage;
}

/** `backup verify`. Sets the exit code to 1 when the backup would not bring every connected node back. */
export async function verifyBackup(
  terminal: Terminal,
  file: string,
  options: { readonly offline?: boolean; readonly passphraseFile?: string },
  globals: GlobalOptions,
): Promise<void> {
  const loaded = loadForCommand(terminal, globals);
  const backup = await openBackup(terminal, file, options);
  const { findings, issuers } = checkBackup(backup, { clock: systemClock });
  const all = [...findings];
  let nodes: NodeCoverage | undefined;
  if (!options.offline) {
    all.push(...(await compareWithStore(terminal, loaded, backup)));
    const asked = await connectedNodes(terminal, globals);
    if ('nodes' in asked) {
      nodes = coverNodes(asked.nodes, issuers);
      all.push(describeCoverage(nodes));
    } else {
      const level = globals.admin === undefined ? 'warn' : 'bad';
      all.push({ level, what: 'nodes', text: `could not be compared: ${asked.problem}` });
    }
  }
  const result: Verification = {
    file,
    createdAt: backup.createdAt,
    findings: all,
    ...(nodes ? { nodes } : {}),
  };
  if (globals.output === 'json' || globals.output === 'yaml')
    terminal.print(formatValue(result, globals.output));
  else {
    terminal.print(
      `backup of ${backup.location}, made at ${backup.createdAt} by version ${backup.version}\n`,
    );
    printFindings(terminal, all);
  }
  if (all.some(({ level }) => level === 'bad')) terminal.exitCode = 1;
}

function describeCoverage({ connected, covered, uncovered }: NodeCoverage): BackupFinding {
  if (connected === 0) return { level: 'ok', what: 'nodes', text: 'no node is connected' };
  const counted = `${covered} of ${connected} connected nodes chain to this backup`;
  if (uncovered.length === 0) return { level: 'ok', what: 'nodes', text: counted };
  const names = uncovered.map(
    ({ node, issuer, issuerSha256 }) =>
      `${node} (issued by ${issuer}, SHA-256 ${issuerSha256.slice(0, 16)}…)`,
  );
  return {
    level: 'bad',
    what: 'nodes',
    text: `${counted}; ${someOf(names)} ${names.length === 1 ? 'does' : 'do'} not`,
  };
}

/** What a restore would find to do is what has changed since. */
async function compareWithStore(
  terminal: Terminal,
  loaded: LoadedConfig,
  backup: Backup,
): Promise<BackupFinding[]> {
  const names = backupNames(loaded.config);
  try {
    return await withStore(terminal, loaded, async (store) => {
      const living = await readLiving(store, backup, names);
      const plan = planRestore(
        { clock: systemClock },
        { backup, living },
        { names, force: false, revokeTokens: false },
      );
      return plan.steps.map((step): BackupFinding => compareOne(step, { backup, living }));
    });
  } catch (error) {
    return [{ level: 'warn', what: 'store', text: `could not be compared: ${describeError(error)}` }];
  }
}

function compareOne(
  { role, name, action, text }: RestoreStep,
  { backup, living }: { backup: Backup; living: Awaited<ReturnType<typeof readLiving>> },
): BackupFinding {
  const [stored, present] = [findSecret(backup, role), living.get(name)];
  if (role === 'revocations' && stored && present && action === 'unchanged') {
    const newer = decodeRevocations(present).version - decodeRevocations(stored).version;
    if (newer > 0)
      return { level: 'warn', what: name, text: `the list in the store is ${newer} version(s) newer` };
  }
  if (action === 'unchanged') return { level: 'ok', what: name, text: `in the store: ${text}` };
  if (action === 'create') return { level: 'warn', what: name, text: 'the store has none' };
  return {
    level: role === 'ca' ? 'bad' : 'warn',
    what: name,
    text:
      role === 'ca' ? `the store holds another CA than this backup` : 'the store holds something else by now',
  };
}
