/**
 * Copies of the alerts in deploy/prometheus where neither Helm nor kustomize may read them: outside of their
 * own folder. `npm run docs` writes them.
 */
import { readFileSync } from 'node:fs';

const SOURCE = 'deploy/prometheus/rules.yaml';
/** Alerts that are off by default. */
const OPTIONAL_SOURCE = 'deploy/prometheus/optional-rules.yaml';
export const RULE_SOURCES = [SOURCE, OPTIONAL_SOURCE];
export const CHART_RULES_FILE = 'deploy/helm/sallyport/files/rules.yaml';
export const CHART_OPTIONAL_RULES_FILE = 'deploy/helm/sallyport/files/optional-rules.yaml';
export const KUSTOMIZE_RULES_FILE = 'deploy/kustomize/prometheus-rules/prometheusrule.yaml';

const note = (source: string) => `# Written by \`npm run docs\` from ${source}.\n`;
const groups = (source: string) => readFileSync(source, 'utf8').replace(/^(#.*\n)+/, '');

export const chartRules = (): string => note(SOURCE) + groups(SOURCE);
/** Without the key: the chart's template appends them to the other groups. */
export const chartOptionalRules = (): string =>
  note(OPTIONAL_SOURCE) + groups(OPTIONAL_SOURCE).replace(/^groups:\n/, '');

export const kustomizeRules = (): string =>
  `${note(SOURCE)}apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: sallyport
  labels: { app.kubernetes.io/name: sallyport }
spec:
${groups(SOURCE).replace(/^(?=.)/gm, '  ')}`;
