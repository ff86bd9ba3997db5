/**
 * Copies of deploy/prometheus/rules.yaml where neither Helm nor kustomize may read it: outside of their own
 * folder. `npm run docs` writes them.
 */
import { readFileSync } from 'node:fs';

const SOURCE = 'deploy/prometheus/rules.yaml';
const NOTE = `# Written by \`npm run docs\` from ${SOURCE}.\n`;
export const CHART_RULES_FILE = 'deploy/helm/sallyport/files/rules.yaml';
export const KUSTOMIZE_RULES_FILE = 'deploy/kustomize/prometheus-rules/prometheusrule.yaml';

const groups = () => readFileSync(SOURCE, 'utf8').replace(/^(#.*\n)+/, '');

export const chartRules = (): string => NOTE + groups();

export const kustomizeRules = (): string =>
  `${NOTE}apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: sallyport
  labels: { app.kubernetes.io/name: sallyport }
spec:
${groups().replace(/^(?=.)/gm, '  ')}`;
