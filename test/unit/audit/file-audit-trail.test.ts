import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { type FileAuditOptions, FileAuditTrail } from '../../../src/audit/file-audit-trail.ts';
import { readAudit, verifyAudit } from '../../../src/audit/read-audit.ts';
import { isSallyportError } from '../../../src/core/errors.ts';
import { silentLogger } from '../../../src/core/log.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

let folder = '';
beforeEach(() => {
  folder = temporaryFolder();
});

const clock = new ManualClock();
const metrics = createMetrics({ process: false });
const open = (options: Partial<FileAuditOptions> = {}) =>
  new FileAuditTrail({ clock, log: silentLogger, metrics }, () => ({
    path: folder,
    replica: 'hub-1',
    fileBytes: 1_000_000,
    files: 20,
    ...options,
  }));
const files = () => readdirSync(folder).sort();
const pathOf = (name: string) => join(folder, name);
const linesOf = (name: string) => readFileSync(pathOf(name), 'utf8').trimEnd().split('\n');
const actions = () => readAudit(folder).map(({ action }) => action);
const verdict = () => verifyAudit(folder).chains[0]!;
const revoked = (node: string) => ({ action: 'revoked', who: 'admin', why: 'keyCompromise', node });

test('P1: a line says who, what, why and from where, and names the hash of the one before', () => {
  const audit = open();
  const facts = { serial: '0A', step: 'prepare' };
  expect(audit.record({ ...revoked('edge-1'), what: 'edge-1 is shut out', from: '192.0.2.1', facts })).toBe(
    true,
  );
  const [begun, line] = readAudit(folder);
  expect(begun).toMatchObject({ action: 'audit-begun', who: 'gateway', previous: '0'.repeat(64) });
  expect(line).toEqual({
    at: new Date(clock.now()).toISOString(),
    replica: 'hub-1',
    action: 'revoked',
    who: 'admin',
    what: 'edge-1 is shut out',
    why: 'keyCompromise',
    from: '192.0.2.1',
    node: 'edge-1',
    facts,
    previous: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
  expect(verdict()).toMatchObject({ lines: 2, files: 1 });
  expect(statSync(pathOf(files()[0]!)).mode & 0o777).toBe(0o600);
});

test('the hash is that of sha256sum, so that anybody can check it without this program', () => {
  const audit = open();
  audit.record(revoked('edge-1'));
  const [first, second] = linesOf(files()[0]!);
  const hash = execFileSync('sha256sum', { input: first!, encoding: 'utf8' }).slice(0, 64);
  expect(JSON.parse(second!).previous).toBe(hash);
});

test('what comes from outside stays in its line, and is bounded', () => {
  const audit = open();
  audit.record({ ...revoked('edge-1'), why: `a\n{"action":"x"}\u0000\ud800${'z'.repeat(5_000)}` });
  const [, line] = linesOf(files()[0]!);
  expect(line!.length).toBeLessThan(2_500);
  expect(verdict()).toMatchObject({ lines: 2 });
  expect(verdict().broken).toBeUndefined();
});

test('a restart goes on with the chain', () => {
  open().record(revoked('edge-1'));
  open().record(revoked('edge-2'));
  expect(actions()).toEqual(['audit-begun', 'revoked', 'audit-begun', 'revoked']);
  expect(verdict()).toMatchObject({ lines: 4, files: 1 });
  expect(verdict().broken).toBeUndefined();
});

test('a full file is followed by another, the oldest go, and the chain holds across all of them', () => {
  const audit = open({ fileBytes: 700, files: 3 });
  for (let index = 0; index < 20; index++) audit.record(revoked(`edge-${index}`));
  expect(files()).toHaveLength(3);
  expect(files()).not.toContain('hub-1.000001.jsonl');
  expect(verdict()).toMatchObject({ files: 3 });
  expect(verdict().broken).toBeUndefined();
  expect(readAudit(folder).at(-1)).toMatchObject({ node: 'edge-19' });
});

describe('verify names the first line that does not hold', () => {
  const three = () => {
    const audit = open({ fileBytes: 700 });
    for (let index = 0; index < 8; index++) audit.record(revoked(`edge-${index}`));
    return files();
  };

  test.each([
    ['changed', (lines: string[]) => lines.with(1, lines[1]!.replace('edge-', 'edgy-')), 3],
    ['removed', (lines: string[]) => lines.toSpliced(1, 1), 2],
    ['put in', (lines: string[]) => lines.toSpliced(1, 0, lines[0]!), 2],
    ['swapped', (lines: string[]) => [lines[1]!, lines[0]!, ...lines.slice(2)], 1],
    ['no JSON any more', (lines: string[]) => lines.with(1, '…'), 2],
  ])('a line that was %s', (_what, change, line) => {
    const [, second] = three();
    const lines = [...linesOf(second!)];
    writeFileSync(pathOf(second!), `${change(lines).join('\n')}\n`);
    expect(verdict().broken).toMatchObject({ file: pathOf(second!), line });
  });

  test('a file that was removed from the middle, and one that ends within a line', () => {
    const [first, second, third] = three();
    appendFileSync(pathOf(third!), '{"at":');
    expect(verdict().broken).toMatchObject({
      file: pathOf(third!),
      problem: expect.stringContaining('cut off'),
    });
    rmSync(pathOf(second!));
    expect(verdict().broken).toMatchObject({ file: pathOf(third!), line: 1 });
    rmSync(pathOf(first!));
    expect(verdict().broken).toMatchObject({ line: linesOf(third!).length });
  });

  test('lines that were removed from the end are missed by whoever noted a hash', () => {
    const audit = open();
    audit.record(revoked('edge-1'));
    const includes = verdict().head;
    audit.record(revoked('edge-2'));
    expect(verifyAudit(folder, { includes }).included).toBe(true);
    const [name] = files();
    writeFileSync(pathOf(name!), `${linesOf(name!)[0]}\n`);
    expect(verifyAudit(folder, { includes })).toMatchObject({ included: false });
  });
});

test('two replicas in one folder have a chain each, whatever their names', () => {
  const [one, two] = [open({ replica: 'hub/1' }), open({ replica: '../hub.2' })];
  for (const audit of [one, two, one, two]) audit.record(revoked('edge-1'));
  expect(verifyAudit(folder).chains.map(({ lines, broken }) => [lines, broken])).toEqual([
    [3, undefined],
    [3, undefined],
  ]);
  expect(readAudit(folder).map(({ replica }) => replica)).toContain('../hub.2');
});

test('who shortens the file of a running gateway is found out, and no line is lost', () => {
  const audit = open();
  audit.record(revoked('edge-1'));
  const [name] = files();
  writeFileSync(pathOf(name!), `${linesOf(name!)[0]}\n`);
  expect(audit.record(revoked('edge-2'))).toBe(true);
  expect(actions().slice(1)).toEqual(['audit-file-changed', 'revoked']);
  expect(verdict().broken).toMatchObject({ file: pathOf('hub-1.000002.jsonl'), line: 1 });
});

test('what a crash tore is removed at the next start, which says so', () => {
  open().record(revoked('edge-1'));
  appendFileSync(pathOf(files()[0]!), '{"at":"2026');
  open();
  expect(readAudit(folder).at(-1)).toMatchObject({
    action: 'audit-begun',
    why: expect.stringContaining('11 bytes'),
  });
  expect(verdict().broken).toBeUndefined();
});

test('a file that was begun and never written is gone on with', () => {
  open().record(revoked('edge-1'));
  writeFileSync(pathOf('hub-1.000002.jsonl'), '');
  open().record(revoked('edge-2'));
  expect(linesOf('hub-1.000002.jsonl')).toHaveLength(2);
  expect(verdict()).toMatchObject({ lines: 4 });
  expect(verdict().broken).toBeUndefined();
});

test('a folder that cannot be made stops the start with the name of the folder', () => {
  writeFileSync(pathOf('file'), '');
  const start = () => open({ path: pathOf('file') });
  expect(start).toThrow(expect.objectContaining({ code: 'AUDIT_FOLDER_UNUSABLE' }));
  expect(start).toThrow(pathOf('file'));
});

test('while the folder is away lines are counted as lost, and the first one after it says how many', async () => {
  const path = pathOf('audit');
  const audit = open({ path });
  const before = (await metrics.auditLinesLost.get()).values[0]?.value ?? 0;
  rmSync(path, { recursive: true });
  expect(audit.record(revoked('edge-1'))).toBe(false);
  expect(audit.record(revoked('edge-2'))).toBe(false);
  expect(audit.problem()).toContain('ENOENT');
  expect((await metrics.auditLinesLost.get()).values[0]!.value).toBe(before + 2);
  open({ path, replica: 'other' });
  expect(audit.record(revoked('edge-3'))).toBe(true);
  expect(audit.problem()).toBeUndefined();
  const lines = readAudit(path).filter(({ replica }) => replica === 'hub-1');
  expect(lines.map(({ action }) => action)).toEqual(['audit-file-changed', 'audit-lines-lost', 'revoked']);
  expect(lines[1]).toMatchObject({ facts: { lines: 2 } });
});

test('what does not fit on a full disk is taken back whole, and the chain goes on when there is room', () => {
  const limited = [
    'import { FileAuditTrail } from "./src/audit/file-audit-trail.ts";',
    'import { createMetrics } from "./src/core/metrics.ts";',
    'import { systemClock } from "./src/core/clock.ts";',
    'process.on("SIGXFSZ", () => {});',
    'const log = { error() {}, warn() {} };',
    'const components = { clock: systemClock, log, metrics: createMetrics({ process: false }) };',
    `const options = { path: ${JSON.stringify(folder)}, replica: "hub-1", fileBytes: 1e6, files: 20 };`,
    'const audit = new FileAuditTrail(components, () => options);',
    'let kept = 0;',
    'while (audit.record({ action: "revoked", who: "admin", why: "x".repeat(300) })) kept++;',
    'console.log(JSON.stringify({ kept, problem: audit.problem() }));',
  ].join('\n');
  const script = join(folder, 'run.ts');
  writeFileSync(script, limited.replaceAll('"./src/', `"${process.cwd()}/src/`));
  // A limit of the file size ends a write within a line, as a full disk does. It is in blocks of 1,024 bytes.
  const out = execFileSync('bash', ['-c', `ulimit -f 2; exec "${process.execPath}" "${script}"`], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const { kept, problem } = JSON.parse(out) as { kept: number; problem: string };
  expect(kept).toBeGreaterThan(0);
  expect(problem).toBeTruthy();
  expect(verdict()).toMatchObject({ lines: kept + 1 });
  expect(verdict().broken).toBeUndefined();
  open().record(revoked('edge-1'));
  expect(verdict()).toMatchObject({ lines: kept + 3 });
  expect(verdict().broken).toBeUndefined();
});

test('lines are found by node, action and time', () => {
  const audit = open();
  const start = clock.now();
  audit.record(revoked('edge-1'));
  audit.record({ action: 'certificate-refused', who: 'unknown', facts: { claimedNode: 'edge-1' } });
  audit.record(revoked('edge-2'));
  expect(readAudit(folder, { node: 'edge-1' })).toHaveLength(2);
  expect(readAudit(folder, { node: 'edge-1', action: 'revoked' })).toHaveLength(1);
  expect(readAudit(folder, { since: start + 1 })).toEqual([]);
  expect(readAudit(folder, { until: start })).toHaveLength(4);
});

test('nothing is created where no audit is to be kept', async () => {
  const { openAuditTrail } = await import('../../../src/audit/open-audit-trail.ts');
  const audit = openAuditTrail({ clock, log: silentLogger, metrics }, () => ({
    replica: 'hub-1',
    fileBytes: 1_000_000,
    files: 20,
  }));
  expect([audit.record(revoked('edge-1')), audit.problem()]).toEqual([true, undefined]);
  expect(existsSync(pathOf('hub-1.000001.jsonl'))).toBe(false);
});

test('an error of ours tells what to do', () => {
  writeFileSync(pathOf('file'), '');
  try {
    open({ path: pathOf('file') });
    expect.unreachable();
  } catch (error) {
    expect(isSallyportError(error) && error.fix).toContain('audit.path');
  }
});
