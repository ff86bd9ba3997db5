/**
 * Writes the parts of the documentation that the code already knows: configuration table, errors, rejection
 * and close reasons, metrics; and what the chart knows of the settings. Generated parts stand between `<!--
 * generated:NAME -->` and `<!-- /generated:NAME -->`. A test runs this with `--check`.
 */

import { globSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createProgram } from '../src/cli/program.ts';
import { listSettings } from '../src/config/settings.ts';
import { ERRORS, type ErrorDefinition } from '../src/core/error-table.ts';
import { createMetrics } from '../src/core/metrics.ts';
import { CLOSE_REASONS, type CloseReasonName } from '../src/protocol/close-reasons.ts';
import {
  ADMIN_REASONS,
  HANDSHAKE_REASONS,
  PEER_REASONS,
  type PeerReason,
  refusalStatus,
} from '../src/protocol/rejection-reasons.ts';
import { withDefaults } from '../src/sdk/edge-client-options.ts';
import {
  CHART_OPTIONAL_RULES_FILE,
  CHART_RULES_FILE,
  chartOptionalRules,
  chartRules,
  KUSTOMIZE_RULES_FILE,
  kustomizeRules,
} from './alert-rules.ts';
import {
  CHART_RESTART_SETTINGS_FILE,
  CHART_SCHEMA_FILE,
  chartRestartSettings,
  chartSchema,
} from './chart-schema.ts';
import { DASHBOARD_FILES, dashboard } from './dashboard.ts';

type Row = readonly string[];
const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;');
const table = (heading: Row, rows: readonly Row[]) =>
  [heading, heading.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');

function configuration(settings = listSettings()): string {
  const rows = settings.map(({ path, default: value, description, allowed, live }) => [
    `\`${path}\``,
    value === undefined
      ? ''
      : `\`${typeof value === 'number' && !Number.isInteger(value) ? value.toFixed(3) : JSON.stringify(value)}\``,
    cell(description) + (allowed && allowed.length > 1 ? ` (${allowed.join(', ')})` : ''),
    live ? 'yes' : '',
  ]);
  return table(['setting', 'default', 'what it is', 'live'], rows);
}

/** What bounds what others can use; docs/security.md. */
const BOUNDS =
  /^(limits\.|hub\.(nodeLimit|keepalive|max|window|queue\.|flap|.*[rR]ate|.*PerSecond)|tokens\.(fleetTtlMs|nodeTtlMs)|certificates\.(edgeDays|graceDays)|quic\..*(onnections|erver))/;

const errors = (codes = Object.keys(ERRORS)) =>
  table(
    ['code', 'status', 'message', 'what to do'],
    Object.entries<ErrorDefinition>(ERRORS)
      .filter(([code]) => codes.includes(code))
      .map(([code, { status, message, fix }]) => [`\`${code}\``, String(status), cell(message), cell(fix)]),
  );

/** What the SDK itself makes, wherever it does. */
function sdkErrors(): string {
  const code = globSync(['src/sdk/**/*.ts', 'src/protocol/quic-library.ts']).map((file) =>
    readFileSync(file, 'utf8'),
  );
  return errors([...code.join('').matchAll(/SallyportError\(\s*'(\w+)'/g)].map(([, name]) => name!));
}

/** The members of an interface, with their comments. */
function membersOf(file: string, name: string): readonly { readonly name: string; readonly text: string }[] {
  const source = readFileSync(file, 'utf8');
  const body = new RegExp(`interface ${name} {\\n([\\s\\S]*?)\\n}`).exec(source)![1]!;
  return [...body.matchAll(/(?:\/\*\*([\s\S]*?)\*\/\s+)?^ {2}(?:readonly )?(\w+)\??:/gm)].map(
    ([, text = '', member]) => ({
      name: member!,
      text: text.replaceAll(/\s*\n\s*\*\s*/g, ' ').trim(),
    }),
  );
}

function sdkOptions(): string {
  const defaults: Readonly<Record<string, unknown>> = withDefaults({
    hub: { https: '' },
    node: '',
    directory: '',
  });
  const rows = membersOf('src/sdk/edge-client-options.ts', 'EdgeClientOptions').map(({ name, text }) => {
    const value = defaults[name];
    const needed = value === '' || name === 'hub';
    const shown = Object.entries(typeof value === 'object' ? value! : { '': value }).map(
      ([part, one]) => `${part && `${part}: `}\`${JSON.stringify(one).replaceAll('"', "'")}\``,
    );
    return [`\`${name}\``, needed ? 'has to be given' : shown.join('<br>'), cell(text)];
  });
  return table(['option', 'default', 'what it is'], rows);
}

const sdkEvents = () =>
  table(
    ['event', 'when'],
    membersOf('src/sdk/edge-events.ts', 'EdgeEvents').map(({ name, text }) => [`\`${name}\``, cell(text)]),
  );

const closeReasons = () =>
  table(
    ['name', 'code', 'meaning', 'what the edge does'],
    Object.entries(CLOSE_REASONS).map(([name, { code, text, retry }]) => [
      `\`${name}\``,
      String(code),
      text,
      retry,
    ]),
  );

/** What an edge does next, by what it was told: the words before there is a connection, the codes after. */
function edgeConduct(): string {
  const doing = {
    soon: 'comes back after the hint, or within a second',
    backoff: 'tries again after 1 s, then later and later, 60 s at most, half of it random',
    renew: 'renews its certificate, then as `backoff`',
    never: '**never**: stays away until a person has acted',
  } as const;
  const rows = Object.entries(doing).map(([retry, what]) => {
    const names = (Object.keys(CLOSE_REASONS) as CloseReasonName[]).filter(
      (name) => CLOSE_REASONS[name].retry === retry,
    );
    const words = (Object.keys(PEER_REASONS) as PeerReason[])
      .filter((word) => names.includes(PEER_REASONS[word].close))
      .map((word) => `\`${word}\` (${refusalStatus(word)})`);
    return [
      what,
      names.map((name) => `${CLOSE_REASONS[name].code} ${name}`).join('<br>'),
      words.join('<br>'),
    ];
  });
  return table(['the edge', 'close code and name', 'word in `Sallyport-Reason` (status)'], rows);
}

const rejectionReasons = () =>
  table(
    ['reason', 'meaning', 'what to do'],
    Object.entries({ ...PEER_REASONS, ...HANDSHAKE_REASONS, ...ADMIN_REASONS }).map(
      ([word, { meaning, fix }]) => [`\`${word}\``, cell(meaning), cell(fix)],
    ),
  );

async function metrics(): Promise<string> {
  const text = await createMetrics({ process: false }).expose();
  const rows = [...text.matchAll(/^# HELP (\S+) (.*)\n# TYPE \S+ (\S+)/gm)].map(([, name, help, type]) => [
    `\`${name}\``,
    type!,
    cell(help!),
  ]);
  return table(['metric', 'type', 'meaning'], rows);
}

async function commands(): Promise<string> {
  const rows: Row[] = [];
  const walk = (command: Awaited<ReturnType<typeof createProgram>>, prefix: string) => {
    for (const child of command.commands) {
      const usage = `${prefix} ${child.name()}`;
      if (child.commands.length > 0) walk(child, usage);
      else {
        const words = child.registeredArguments.map((argument) => ` <${argument.name()}>`).join('');
        rows.push([
          `\`${usage.trim()}${words}\``,
          cell(child.description()),
          child.options.map(({ flags }) => `\`${flags}\``).join(' '),
        ]);
      }
    }
  };
  walk(await createProgram(), 'sallyport');
  return table(['command', 'what it does', 'options'], rows);
}

/** One column a transport, from what the last run of test/contract/listener.contract.ts recorded. */
function verdicts(): string {
  const folder = 'test/contract/verdicts';
  const transports = readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => ({
      name: name.replace('.json', ''),
      verdicts: JSON.parse(readFileSync(`${folder}/${name}`, 'utf8')) as Record<string, string>,
    }));
  const cases = [...new Set(transports.flatMap((one) => Object.keys(one.verdicts)))];
  return table(
    ['edge, or its certificate', ...transports.map(({ name }) => name)],
    cases.map((edge) => [edge, ...transports.map((one) => cell(one.verdicts[edge] ?? 'not promised'))]),
  );
}

const parts: Readonly<Record<string, () => string | Promise<string>>> = {
  configuration,
  'configuration-limits': () => configuration(listSettings().filter(({ path }) => BOUNDS.test(path))),
  errors: () => errors(),
  'edge-conduct': edgeConduct,
  'sdk-options': sdkOptions,
  'sdk-events': sdkEvents,
  'sdk-errors': sdkErrors,
  'close-reasons': closeReasons,
  'rejection-reasons': rejectionReasons,
  metrics,
  commands,
  verdicts,
};
/** Files that are generated as a whole. */
const whole: Readonly<Record<string, () => string>> = {
  [CHART_SCHEMA_FILE]: chartSchema,
  [CHART_RESTART_SETTINGS_FILE]: chartRestartSettings,
  [CHART_RULES_FILE]: chartRules,
  [CHART_OPTIONAL_RULES_FILE]: chartOptionalRules,
  [KUSTOMIZE_RULES_FILE]: kustomizeRules,
  ...Object.fromEntries(DASHBOARD_FILES.map((file) => [file, dashboard])),
};
const files = [
  'docs/commands.md',
  'docs/configuration.md',
  'docs/errors.md',
  'docs/protocol.md',
  'docs/sdk.md',
  'docs/operations.md',
  'docs/reference.md',
  'docs/security.md',
  ...Object.keys(whole),
];

const check = process.argv.includes('--check');
let stale = 0;
for (const file of files) {
  const before = readFileSync(file, 'utf8');
  let text = whole[file]?.() ?? before;
  for (const [name, make] of Object.entries(parts)) {
    const [open, close] = [`<!-- generated:${name} -->`, `<!-- /generated:${name} -->`];
    const [start, end] = [text.indexOf(open), text.indexOf(close)];
    if (start >= 0 && end > start)
      text = `${text.slice(0, start + open.length)}\n${await make()}\n${text.slice(end)}`;
  }
  if (text === before) continue;
  stale++;
  if (check) process.stderr.write(`${file} is not up to date: run \`npm run docs\`\n`);
  else writeFileSync(file, text);
}
process.exit(check && stale > 0 ? 1 : 0);
