import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { listSettings } from '../../src/config/settings.ts';
import { chartSchema } from '../../tools/chart-schema.ts';
import { describeDeployment } from '../support/kube/deployment-tests.ts';
import { Manifests } from '../support/kube/manifests.ts';

interface Kustomization {
  readonly namespace: string;
  readonly resources: readonly string[];
  readonly replacements: readonly { readonly targets: readonly unknown[] }[];
  readonly configMapGenerator: readonly { readonly name: string; readonly files: readonly string[] }[];
}
const folder = 'deploy/kustomize';
const read = (file: string) => readFileSync(`${folder}/${file}`, 'utf8');
const kustomization = parse(read('kustomization.yaml')) as Kustomization;

/**
 * What `kubectl kustomize` does with these few features: the namespace into every object, files into
 * ConfigMaps.
 */
function build(): Manifests {
  const { namespace, resources, configMapGenerator } = kustomization;
  const maps = configMapGenerator.map(({ name, files }) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name },
    data: Object.fromEntries(files.map((file) => [file, read(file)])),
  }));
  const objects = [...new Manifests(resources.map(read).join('\n---\n')).all, ...maps].map((manifest) => ({
    ...manifest,
    metadata: { ...manifest.metadata, namespace },
    ...('subjects' in manifest
      ? { subjects: manifest.subjects!.map((subject) => ({ ...subject, namespace })) }
      : {}),
  }));
  return new Manifests(objects.map((object) => stringify(object)).join('---\n'));
}

interface Patch {
  readonly op: 'add';
  readonly path: string;
  readonly value: unknown;
}

/** The same with the component `cloudcore`: its patches only ever append to a list (RFC 6902). */
function buildWithCloudCore(): Manifests {
  const component = parse(read('cloudcore/kustomization.yaml')) as {
    kind: string;
    patches: { target: { kind: string; name: string }; path: string }[];
  };
  expect(component.kind).toBe('Component');
  const all = build().all.map((manifest) => structuredClone(manifest));
  for (const { target, path } of component.patches) {
    const object = all.find(({ kind, metadata }) => kind === target.kind && metadata.name === target.name)!;
    for (const { op, path: pointer, value } of parse(read(`cloudcore/${path}`)) as Patch[]) {
      const keys = pointer.split('/').slice(1);
      expect([op, keys.pop()]).toEqual(['add', '-']);
      const list = keys.reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], object);
      (list as unknown[]).push(value);
    }
  }
  return new Manifests(all.map((object) => stringify(object)).join('---\n'));
}

describe('with the component cloudcore', () => {
  const manifests = buildWithCloudCore();
  describeDeployment(() => manifests);

  test('the gateway stands in front of CloudCore, with its tunnel', () => {
    const { upstream, tunnel } = manifests.configuration().config;
    expect(upstream).toMatchObject({ kind: 'cloudcore', addresses: ['cloudcore-hub:10000'] });
    expect(tunnel.enabled).toBe(true);
  });
});

describe('kubectl apply -k deploy/kustomize', () => {
  const manifests = build();
  describeDeployment(() => manifests);

  test('grants nothing beyond its namespace unless the component is added', () => {
    expect(manifests.all.filter(({ kind }) => kind.startsWith('Cluster'))).toEqual([]);
    const component = parse(read('bearer-tokens/kustomization.yaml')) as {
      kind: string;
      resources: string[];
    };
    expect(component.kind).toBe('Component');
    expect(component.resources).toEqual(['auth-delegator.yaml', 'viewer.yaml', 'operator.yaml']);
    const [viewer, operator, binding] = ['viewer', 'operator', 'auth-delegator'].map(
      (file) => parse(read(`bearer-tokens/${file}.yaml`)) as ReturnType<Manifests['get']>,
    ) as [ReturnType<Manifests['get']>, ReturnType<Manifests['get']>, ReturnType<Manifests['get']>];
    expect(binding.roleRef!.name).toBe('system:auth-delegator');
    // Without a namespace kustomize puts in the one of the service account that is built beside it.
    expect(binding.subjects).toEqual([{ kind: 'ServiceAccount', name: manifests.pod.serviceAccountName }]);
    for (const { kind, metadata } of [viewer, operator, binding]) {
      expect(metadata.name).toMatch(/^NAMESPACE-sallyport-/);
      expect(kustomization.replacements[0]!.targets).toContainEqual({
        select: { group: 'rbac.authorization.k8s.io', kind },
        fieldPaths: ['metadata.name'],
        options: { delimiter: '-', index: 0 },
      });
    }
  });
});

describe('the chart, without Helm', () => {
  const values = parse(readFileSync('deploy/helm/sallyport/values.yaml', 'utf8')) as Record<string, unknown>;
  const schema = JSON.parse(readFileSync('deploy/helm/sallyport/values.schema.json', 'utf8')) as Node;
  interface Node {
    readonly properties?: Record<string, Node>;
    readonly additionalProperties?: unknown;
  }

  test('values.schema.json is what the code says', () => {
    expect(`${JSON.stringify(schema, null, 2)}\n`).toBe(chartSchema());
    const settings = listSettings().map(({ path }) => path.split('.'));
    for (const path of settings) {
      let node = schema.properties!.config;
      for (const key of path) node = node?.properties?.[key];
      expect(node, path.join('.')).toBeDefined();
    }
  });

  test('every value of values.yaml is in the schema, and the other way round', () => {
    const compare = (value: unknown, node: Node, path: string) => {
      if (node.additionalProperties !== false || path === 'config') return;
      const known = Object.keys(node.properties!).filter((key) => key !== 'global');
      expect(Object.keys(value as object).sort(), path).toEqual(known.sort());
      for (const key of known) compare((value as Record<string, unknown>)[key], node.properties![key]!, key);
    };
    compare(values, schema, 'values');
  });

  test('the notes teach an encrypted backup, and show no key', () => {
    const notes = readFileSync('deploy/helm/sallyport/templates/NOTES.txt', 'utf8');
    expect(notes).toContain('sallyport backup create');
    expect(notes).not.toMatch(/get secret[^\n]*caSecret|cakeydata/);
  });

  test('chart and package have one version', () => {
    const { version, appVersion } = parse(readFileSync('deploy/helm/sallyport/Chart.yaml', 'utf8')) as {
      version: string;
      appVersion: string;
    };
    const own = (JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }).version;
    expect([version, appVersion]).toEqual([own, own]);
  });
});
