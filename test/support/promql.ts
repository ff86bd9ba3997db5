import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { RULE_SOURCES } from '../../tools/alert-rules.ts';

/** A query with where it stands, and the labels that its text says its result has. */
export interface Query {
  readonly where: string;
  readonly query: string;
  readonly labels: readonly string[];
}

/**
 * Metrics of a query with the labels they are selected by. A loose reader: enough for names and labels, not
 * for PromQL.
 */
export function metricUses(query: string): { metric: string; matchers: string[] }[] {
  return [...query.matchAll(/\b((?:sallyport|process)_\w+)(?:\{([^}]*)\})?/g)].map(
    ([, metric, inside = '']) => ({
      metric: metric!,
      matchers: [...inside.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label]) => label!),
    }),
  );
}

const grouping = (query: string) =>
  [...query.matchAll(/\b(?:by|without|on|ignoring) \(([^)]*)\)/g)].flatMap(([, list]) =>
    list!.split(',').map((label) => label.trim()),
  );

export interface AlertRule {
  readonly alert: string;
  expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: Readonly<Record<string, string>>;
}

/** The groups of all alerts, those that are off by default too. */
export function alertRules(sources: readonly string[] = RULE_SOURCES): { readonly rules: AlertRule[] }[] {
  return sources.flatMap(
    (source) => (parse(readFileSync(source, 'utf8')) as { groups: { rules: AlertRule[] }[] }).groups,
  );
}

export function ruleQueries(): Query[] {
  return alertRules()
    .flatMap(({ rules }) => rules)
    .map(({ alert, expr, annotations }) => {
      const named = [
        ...Object.values(annotations)
          .join(' ')
          .matchAll(/\$labels\.(\w+)/g),
      ];
      return { where: alert, query: expr, labels: [...grouping(expr), ...named.map(([, label]) => label!)] };
    });
}

export function dashboardQueries(): Query[] {
  const { panels } = JSON.parse(readFileSync('deploy/grafana/sallyport.json', 'utf8')) as {
    panels: { title: string; targets?: { expr: string; legendFormat: string }[] }[];
  };
  return panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr, legendFormat }) => {
      const named = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)];
      return { where: title, query: expr, labels: [...grouping(expr), ...named.map(([, label]) => label!)] };
    }),
  );
}
