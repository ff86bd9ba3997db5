import { z } from 'zod';
import { configSchema } from '../src/config/schema.ts';
import { listSettings } from '../src/config/settings.ts';

export const CHART_SCHEMA_FILE = 'deploy/helm/sallyport/values.schema.json';
export const CHART_RESTART_SETTINGS_FILE = 'deploy/helm/sallyport/files/restart-settings.txt';

type Schema = Readonly<Record<string, unknown>>;
const object = (properties: Record<string, Schema>): Schema => ({
  type: 'object',
  additionalProperties: false,
  properties,
});
const string: Schema = { type: 'string' };
const boolean: Schema = { type: 'boolean' };
const name: Schema = { type: 'string', maxLength: 63, pattern: '^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$' };
const map: Schema = { type: 'object' };
const strings: Schema = { type: 'object', additionalProperties: { type: 'string' } };
const list = (items: Schema): Schema => ({ type: 'array', items });

/**
 * The gateway's schema, narrowed to what makes sense in a pod: Secrets are on the cluster, ports are known.
 */
function config(): unknown {
  const schema = z.toJSONSchema(configSchema, { io: 'input', target: 'draft-7' }) as {
    $schema?: string;
    properties: Record<string, { properties?: Record<string, Record<string, unknown>> }>;
  };
  delete schema.$schema;
  schema.properties.secretStore!.properties!.kind = { const: 'kubernetes' };
  schema.properties.advertise!.properties!.addresses!.minItems = 1;
  for (const section of Object.values(schema.properties))
    if (section.properties?.port) section.properties.port.minimum = 1024;
  return schema;
}

/**
 * The text of the file that Helm checks values with: what the chart adds is described here, `config` is the
 * gateway's own schema.
 */
export function chartSchema(): string {
  const schema = {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Values of the Sallyport chart',
    ...object({
      global: map,
      replicaCount: { type: 'integer', minimum: 1 },
      image: object({
        repository: { type: 'string', minLength: 1 },
        tag: string,
        pullPolicy: { enum: ['Always', 'IfNotPresent', 'Never'] },
      }),
      imagePullSecrets: list(object({ name: string })),
      nameOverride: name,
      fullnameOverride: name,
      config: config() as Schema,
      service: object({
        type: { enum: ['ClusterIP', 'NodePort', 'LoadBalancer'] },
        annotations: strings,
        externalTrafficPolicy: { enum: ['Local', 'Cluster'] },
        loadBalancerSourceRanges: list(string),
      }),
      serviceAccount: object({ create: boolean, name, annotations: strings }),
      rbac: object({ create: boolean }),
      admin: object({ access: { enum: ['bearer-tokens', 'none'] } }),
      audit: object({ enabled: boolean, volume: map }),
      nats: object({ secret: name, port: { type: 'integer', minimum: 1, maximum: 65_535 } }),
      networkPolicy: object({
        enabled: boolean,
        adminFrom: list(map),
        apiServer: list(map),
        nats: list(map),
        cloudcore: list(map),
      }),
      podDisruptionBudget: object({
        enabled: boolean,
        maxUnavailable: { type: ['integer', 'string'], minimum: 1, pattern: '^[0-9]+%$' },
      }),
      preStopSeconds: { type: 'integer', minimum: 0, maximum: 300 },
      resources: object({ requests: map, limits: map }),
      topologyKeys: list(string),
      nodeSelector: strings,
      tolerations: list(map),
      affinity: map,
      priorityClassName: string,
      podAnnotations: strings,
      podLabels: strings,
      serviceMonitor: object({
        enabled: boolean,
        interval: { type: 'string', pattern: '^[0-9]+(ms|s|m)$' },
        labels: strings,
        caConfigMap: { type: 'string', minLength: 1 },
        authorization: map,
      }),
      prometheusRule: object({
        enabled: boolean,
        optional: boolean,
        labels: strings,
        runbookBase: { type: 'string' },
      }),
      grafanaDashboard: object({ enabled: boolean, labels: strings, annotations: strings }),
    }),
    // Gateways that share no bus share no messages.
    if: { properties: { replicaCount: { minimum: 2 } } },
    // biome-ignore lint/suspicious/noThenProperty: a word of JSON Schema
    then: { properties: { config: { properties: { bus: { properties: { kind: { const: 'nats' } } } } } } },
  };
  return `${JSON.stringify(schema, null, 2)}\n`;
}

/** The settings whose change restarts the pods, a line each. */
export function chartRestartSettings(): string {
  return listSettings()
    .filter(({ live }) => !live)
    .map(({ path }) => path)
    .join('\n');
}
