import type { OutputFormat } from '../output.ts';
import { formatValue } from '../output.ts';
import { CHECKS, docsOf, type Finding, type Status } from './finding.ts';

export interface ViewOptions {
  readonly format: OutputFormat;
  readonly colour: boolean;
}

const SIGNS: Readonly<Record<Status, string>> = { ok: '√', warning: '‼', failure: '×', skipped: '·' };
const COLOURS: Readonly<Record<Status, number>> = { ok: 32, warning: 33, failure: 31, skipped: 2 };

/** 0 all fine, 1 warnings, 2 failures. What was skipped is neither. */
export function exitCodeOf(findings: readonly Finding[]): 0 | 1 | 2 {
  if (findings.some(({ status }) => status === 'failure')) return 2;
  return findings.some(({ status }) => status === 'warning') ? 1 : 0;
}

export function formatFindings(findings: readonly Finding[], { format, colour }: ViewOptions): string {
  const groups = [...Map.groupBy(findings, ({ check }) => CHECKS[check])];
  const count = (status: Status) => findings.filter((one) => one.status === status).length;
  const summary = { ok: count('ok'), warnings: count('warning'), failures: count('failure') };
  if (format === 'json' || format === 'yaml')
    return formatValue(
      {
        exitCode: exitCodeOf(findings),
        summary,
        groups: groups.map(([name, of]) => ({
          name,
          findings: of.map((one) => ({ ...one, ...(isTrouble(one) ? { docs: docsOf(one.check) } : {}) })),
        })),
      },
      format,
    );
  if (format === 'name')
    return findings
      .filter(isTrouble)
      .map(({ check }) => check)
      .join('\n');
  const lines = groups.flatMap(([name, of]) => [
    paint(name, colour ? 1 : undefined),
    ...of.flatMap((one) => describe(one, colour)),
    '',
  ]);
  const verdict =
    summary.failures + summary.warnings === 0
      ? 'all is well'
      : `${summary.failures} failures, ${summary.warnings} warnings`;
  return [...lines, `${verdict} (${summary.ok} checks passed)`].join('\n');
}

function describe(one: Finding, colour: boolean): string[] {
  const sign = paint(SIGNS[one.status], colour ? COLOURS[one.status] : undefined);
  const detail = one.detail === undefined ? '' : isTrouble(one) ? '' : `: ${one.detail}`;
  const lines = [`  ${sign} ${one.title}${detail}`];
  if (!isTrouble(one)) return lines;
  if (one.detail) lines.push(`      ${one.detail}`);
  if (one.hint) lines.push(`      → ${one.hint}`);
  lines.push(`      ${docsOf(one.check)}`);
  if (one.yaml) lines.push(...one.yaml.split('\n').map((line) => `        ${line}`));
  return lines;
}

function isTrouble({ status }: Finding): boolean {
  return status === 'warning' || status === 'failure';
}

function paint(text: string, code: number | undefined): string {
  return code === undefined ? text : `\u001b[${code}m${text}\u001b[0m`;
}
