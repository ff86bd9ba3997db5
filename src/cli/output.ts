import { printable } from '../core/printable.ts';
import { yaml } from '../core/yaml.ts';

export type OutputFormat = 'table' | 'json' | 'yaml' | 'name';
export const OUTPUT_FORMATS: readonly OutputFormat[] = ['table', 'json', 'yaml', 'name'];

/** One column of a table: its heading and the text of a row. */
export type Column<T> = readonly [heading: string, cell: (row: T) => string | number | undefined];

export interface ListView<T> {
  readonly columns: readonly Column<T>[];
  /** What `-o name` prints. */
  readonly name: (row: T) => string;
}

/** kubectl's table: upper-case headings, columns three spaces apart, `<none>` for what is not there. */
export function formatTable<T>(rows: readonly T[], columns: readonly Column<T>[]): string {
  const cells = [
    columns.map(([heading]) => heading),
    ...rows.map((row) => columns.map(([, cell]) => printable(String(cell(row) ?? '<none>')))),
  ];
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => line[index]!.length)));
  return cells
    .map((line) =>
      line
        .map((cell, index) => cell.padEnd(widths[index]!))
        .join('   ')
        .trimEnd(),
    )
    .join('\n');
}

export function formatList<T>(rows: readonly T[], format: OutputFormat, view: ListView<T>): string {
  if (format === 'name') return rows.map(view.name).join('\n');
  if (format === 'table') return rows.length === 0 ? '' : formatTable(rows, view.columns);
  return formatValue(rows, format);
}

export function formatValue(value: unknown, format: OutputFormat): string {
  return format === 'json' ? JSON.stringify(value, undefined, 2) : yaml().stringify(value).trimEnd();
}

/** `3d4h`, `12m`, `8s`: kubectl's short durations. */
export function shortDuration(ms: number): string {
  const sign = ms < 0 ? '-' : '';
  const seconds = Math.floor(Math.abs(ms) / 1000);
  const [days, hours, minutes] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3600),
    Math.floor(seconds / 60),
  ];
  if (days >= 10) return `${sign}${days}d`;
  if (days >= 1) return `${sign}${days}d${hours % 24 ? `${hours % 24}h` : ''}`;
  if (hours >= 1) return `${sign}${hours}h${minutes % 60 ? `${minutes % 60}m` : ''}`;
  if (minutes >= 1) return `${sign}${minutes}m`;
  return `${sign}${seconds}s`;
}

/** How long ago it was, by the clock of this machine. @param at ISO 8601 */
export const age = (at: string) => shortDuration(Date.now() - Date.parse(at));

/** How long it takes until then. @param at ISO 8601 */
export const until = (at: string) => shortDuration(Date.parse(at) - Date.now());

/** `90s`, `12h`, `7d`, `500ms` → milliseconds; undefined when it is none of these. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text);
  if (!match) return undefined;
  return (
    Number(match[1]) *
    { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }[match[2] as 'ms' | 's' | 'm' | 'h' | 'd']
  );
}

/** ANSI colours, on a terminal and without NO_COLOR only. */
export function paint(stream: { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env) {
  const on = stream.isTTY && !env.NO_COLOR;
  const colour = (code: number) => (text: string) => (on ? `\u001b[${code}m${text}\u001b[0m` : text);
  return {
    bold: colour(1),
    dim: colour(2),
    green: colour(32),
    yellow: colour(33),
    red: colour(31),
    cyan: colour(36),
  };
}
