import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { RULE_SOURCES } from '../../tools/alert-rules.ts';
import { alertRules } from '../support/promql.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

/**
 * Needs promtool (Debian: prometheus), and fails without it: a rule that was not tried may as well not exist.
 */
const PROMTOOL = process.env.PROMTOOL ?? 'promtool';
const TESTS = 'deploy/prometheus/rules.test.yaml';
const alerts = alertRules().flatMap(({ rules }) => rules.map(({ alert }) => alert));

function promtool(...words: readonly string[]): string {
  return execFileSync(PROMTOOL, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

let folder: string;
beforeAll(() => {
  try {
    promtool('--version');
  } catch (cause) {
    throw new Error(`cannot run ${PROMTOOL}: apt-get install prometheus, or set PROMTOOL`, { cause });
  }
  folder = temporaryFolder();
});

/** Runs the tests against rules in which one expression is another. */
function passesWith(alert: string, expr: string): boolean {
  const groups = alertRules();
  for (const rule of groups.flatMap(({ rules }) => rules)) if (rule.alert === alert) rule.expr = expr;
  writeFileSync(join(folder, 'rules.yaml'), stringify({ groups }));
  const all = parse(readFileSync(TESTS, 'utf8')) as { tests: readonly { readonly name: string }[] };
  const tests = all.tests.filter(({ name }) => name.split(/[ ,:]+/).includes(alert));
  if (tests.length === 0) throw new Error(`${TESTS} has no test named for ${alert}`);
  writeFileSync(join(folder, 'rules.test.yaml'), stringify({ ...all, rule_files: ['rules.yaml'], tests }));
  try {
    promtool('test', 'rules', join(folder, 'rules.test.yaml'));
    return true;
  } catch {
    return false;
  }
}

test('L1: the rules are ones Prometheus takes', () => {
  const found = promtool('check', 'rules', ...RULE_SOURCES).matchAll(/SUCCESS: (\d+) rules found/g);
  expect([...found].reduce((sum, [, count]) => sum + Number(count), 0)).toBe(alerts.length);
});

test('L1: every alert fires when it should, and only then', () => {
  expect(promtool('test', 'rules', TESTS)).toContain('SUCCESS');
});

describe('L1: the tests of the rules would notice an alert that', () => {
  test.each(alerts)('%s never fires', (alert) => {
    expect(passesWith(alert, 'vector(1) > 2')).toBe(false);
  });

  test.each(alerts)('%s always fires', (alert) => {
    const always = alert === 'SallyportAbsent' ? 'vector(1)' : 'group without(__name__) ({__name__=~".+"})';
    expect(passesWith(alert, always)).toBe(false);
  });
});
