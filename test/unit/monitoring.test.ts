import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { createMetrics } from '../../src/core/metrics.ts';
import {
  CHART_OPTIONAL_RULES_FILE,
  CHART_RULES_FILE,
  KUSTOMIZE_RULES_FILE,
  RULE_SOURCES,
} from '../../tools/alert-rules.ts';
import { alertRules, dashboardQueries, metricUses, ruleQueries } from '../support/promql.ts';

/** What Prometheus adds to every series, and `le` of a histogram. */
const TARGET_LABELS = ['job', 'instance', 'namespace', 'pod', 'le', 'severity', 'alertname'];

const [RULES, OPTIONAL] = RULE_SOURCES.map((source) => alertRules([source]));
const rules = alertRules().flatMap((group) => group.rules);

/** Metric → its labels, as the code declares them. */
function declared(): Map<string, readonly string[]> {
  const known = new Map<string, readonly string[]>();
  for (const metric of Object.values(createMetrics())) {
    if (typeof metric !== 'object' || !('labelNames' in metric)) continue;
    const { name, labelNames } = metric as unknown as { name: string; labelNames: string[] };
    for (const suffix of ['', '_bucket', '_sum', '_count']) known.set(name + suffix, labelNames);
  }
  return known;
}

describe.each([
  ['the alerts', ruleQueries()],
  ['the dashboard', dashboardQueries()],
] as const)('L1: %s', (_what, queries) => {
  test('name only metrics that exist, with labels that they have', () => {
    const known = declared();
    expect(queries.length).toBeGreaterThan(15);
    for (const { where, query, labels } of queries) {
      const uses = metricUses(query);
      expect(uses.length, where).toBeGreaterThan(0);
      const available = new Set(TARGET_LABELS);
      for (const { metric, matchers } of uses) {
        if (metric.startsWith('process_')) continue;
        const own = known.get(metric);
        expect(own, `${where}: ${metric}`).toBeDefined();
        for (const label of own!) available.add(label);
        for (const label of matchers)
          expect([...own!, ...TARGET_LABELS], `${where}: ${metric}{${label}}`).toContain(label);
      }
      for (const label of labels) expect([...available], `${where}: ${label}`).toContain(label);
    }
  });
});

describe('L1: the alerts', () => {
  test('each says how bad it is, what is wrong, and where to read on', () => {
    for (const { alert, labels, annotations } of rules) {
      expect(['info', 'warning', 'critical'], alert).toContain(labels.severity);
      expect(Object.keys(annotations).sort(), alert).toEqual(['description', 'runbook_url', 'summary']);
      expect(annotations.runbook_url).toBe(`docs/runbooks.md#${alert.toLowerCase()}`);
    }
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
  });

  test('each has its section in docs/runbooks.md, and no section is without its alert', () => {
    const headings = [...readFileSync('docs/runbooks.md', 'utf8').matchAll(/^### (Sallyport\w+)$/gm)].map(
      ([, name]) => name,
    );
    expect(headings).toEqual(rules.map(({ alert }) => alert));
  });

  test('are the same in the chart and for kustomize', () => {
    const chart = readFileSync(CHART_RULES_FILE, 'utf8');
    expect(parse(chart)).toEqual({ groups: RULES });
    // The chart appends them, when they are wanted.
    const both = chart + readFileSync(CHART_OPTIONAL_RULES_FILE, 'utf8');
    expect(parse(both)).toEqual({ groups: [...RULES!, ...OPTIONAL!] });
    const object = parse(readFileSync(KUSTOMIZE_RULES_FILE, 'utf8')) as { kind: string; spec: unknown };
    expect([object.kind, object.spec]).toEqual(['PrometheusRule', { groups: RULES }]);
  });
});

test('L1: names follow the conventions of Prometheus: base units, counters end in _total', () => {
  for (const metric of Object.values(createMetrics({ process: false }))) {
    if (typeof metric !== 'object' || !('labelNames' in metric)) continue;
    const { name, help } = metric as unknown as { name: string; help: string };
    const kind = metric.constructor.name;
    expect(name).toMatch(/^sallyport_[a-z0-9_]+$/);
    expect(help, name).toMatch(/^\S.*\.$/);
    expect(name.endsWith('_total'), name).toBe(kind === 'Counter');
    expect(name, 'base units').not.toMatch(
      /_(ms|milliseconds|minutes|hours|days|kb|kib|mb|mib|percent)(_|$)/,
    );
    if (/timestamp/.test(name)) expect(name).toMatch(/_timestamp_seconds$/);
  }
});
