import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { createProgram } from '../../src/cli/program.ts';
import { loadConfig } from '../../src/config/load.ts';
import { listSettings, type Setting } from '../../src/config/settings.ts';
import { imageEntrypoint } from '../support/fleets/image.ts';
import { describeDeployment } from '../support/kube/deployment-tests.ts';
import { imageEnvironment, type Manifest, Manifests } from '../support/kube/manifests.ts';

const HELM = process.env.HELM ?? 'helm';
const CHART = 'deploy/helm/sallyport';

/** What has to be decided at an install. */
const CHOICES = { 'config.advertise.addresses': ['hub.example.com'], 'admin.access': 'none' };

/** Needs Helm 3; `--kube-version` because a Helm built by `go install` thinks of an old one. */
function template(...flags: readonly string[]): string {
  const words = ['template', 'sallyport', CHART, '-n', 'edge', '--kube-version', '1.30.0', ...flags];
  return execFileSync(HELM, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
const render = (...flags: readonly string[]) => new Manifests(template(...set(CHOICES), ...flags));
const set = (values: Readonly<Record<string, unknown>>) =>
  Object.entries(values).flatMap(([path, value]) => ['--set-json', `${path}=${JSON.stringify(value)}`]);
const checksum = (manifests: Manifests) =>
  manifests.get('Deployment').spec!.template!.metadata.annotations!['checksum/restart'];

describe('with nothing but what has to be decided', () => {
  const manifests = render();
  describeDeployment(() => manifests);

  test('helm lint finds nothing wrong', () => {
    expect(execFileSync(HELM, ['lint', CHART, ...set(CHOICES)], { encoding: 'utf8' })).toContain(
      '0 chart(s) failed',
    );
  });

  test('everything but addresses, store and QUIC, whose port a Service has to offer, has the default of the code', () => {
    const { config } = manifests.configuration();
    const defaults = loadConfig().config;
    expect(config).toEqual({
      ...defaults,
      advertise: config.advertise,
      secretStore: { ...defaults.secretStore, kind: 'kubernetes', path: config.secretStore.path },
      quic: { ...defaults.quic, enabled: false },
      // For the image's own check; in a pod the kubelet asks.
      health: { file: imageEnvironment().SALLYPORT_HEALTH_FILE },
    });
  });

  test('nothing is granted beyond the namespace, and nothing needs an operator', () => {
    for (const { kind } of manifests.all)
      expect(kind).not.toMatch(/^(Cluster|ServiceMonitor|PrometheusRule)/);
    for (const { metadata } of manifests.all) expect(metadata.namespace).toBe('edge');
  });
});

describe('with NATS', () => {
  const manifests = render(
    ...set({
      replicaCount: 3,
      'config.bus': {
        kind: 'nats',
        nats: { servers: ['nats://nats:4222'], credsFile: '/etc/sallyport-nats/nats.creds' },
      },
      'nats.secret': 'nats-credentials',
    }),
  );
  describeDeployment(() => manifests);

  test('credentials come from a mounted Secret, never from the configuration, and NATS can be reached', () => {
    const { config } = manifests.configuration();
    expect(config.bus.kind).toBe('nats');
    expect(manifests.get('Deployment').spec!.replicas).toBe(3);
    const mount = manifests.pod.containers[0]!.volumeMounts!.find(({ name }) => name === 'nats')!;
    expect(config.bus.nats.credsFile!.startsWith(`${mount.mountPath}/`)).toBe(true);
    expect(JSON.stringify(manifests.pod.volumes)).toContain('"secretName":"nats-credentials"');
    expect(JSON.stringify(manifests.get('NetworkPolicy').spec!.egress)).toContain('4222');
  });
});

describe('in front of CloudCores', () => {
  const manifests = render(
    ...set({
      'config.upstream': {
        kind: 'cloudcore',
        addresses: ['cloudcore-0.cloudcore:10000', 'cloudcore-1.cloudcore:10000'],
        httpsAddresses: ['cloudcore-0.cloudcore:10002', 'cloudcore-1.cloudcore:10002'],
        tunnelAddresses: ['cloudcore-0.cloudcore:10004', 'cloudcore-1.cloudcore:11004'],
        caSecret: 'cloudcore-ca',
      },
      'config.tunnel.enabled': true,
      'networkPolicy.cloudcore': [{ podSelector: { matchLabels: { kubeedge: 'cloudcore' } } }],
    }),
  );
  describeDeployment(() => manifests);

  test('egress leads to the CloudCores only', () => {
    expect(manifests.get('NetworkPolicy').spec!.egress).toContainEqual({
      ports: [10000, 10002, 10004, 11004].map((port) => ({ port, protocol: 'TCP' })),
      to: [{ podSelector: { matchLabels: { kubeedge: 'cloudcore' } } }],
    });
  });

  test('a CA of their own is only followed, and one that is known already is granted once', () => {
    const known = render(
      ...set({
        'config.upstream': { kind: 'cloudcore', addresses: ['[2001:db8::1]:10000'], caSecret: 'casecret' },
      }),
    );
    const rights = (all: Manifests, secret: string) =>
      all.get('Role').rules!.filter(({ resourceNames }) => resourceNames?.includes(secret));
    expect(rights(manifests, 'cloudcore-ca').map(({ verbs }) => verbs)).toEqual([['get', 'list', 'watch']]);
    expect(rights(known, 'casecret')).toHaveLength(1);
    expect(known.get('NetworkPolicy').spec!.egress).toContainEqual({
      ports: [{ port: 10000, protocol: 'TCP' }],
    });
  });
});

describe('with other settings', () => {
  const manifests = render(
    ...set({
      'config.https.port': 20002,
      'config.websocket.enabled': false,
      'config.quic': { enabled: true, port: 20001 },
      'config.webtransport': { enabled: true },
      'config.admin.port': 20010,
      'config.certificates': {
        caSecret: 'our-ca',
        hubSecret: 'hub-tls',
        hubSecretManaged: false,
        historySecret: 'our-history',
        historyShards: 20,
      },
      'config.tokens.stateSecret': 'our-tokens',
      'config.limits': { drainMs: 60_000, stopTimeoutMs: 90_500 },
      'config.hub.maxMessageBytes': 33_554_432,
      'config.advertise.addresses': ['hub.example.com'],
      preStopSeconds: 12,
      'serviceMonitor.enabled': true,
      'prometheusRule.enabled': true,
      'prometheusRule.runbookBase': 'https://git.example.com/docs/',
      'grafanaDashboard.enabled': true,
      'admin.access': 'bearer-tokens',
      'audit.enabled': true,
      'audit.volume': { persistentVolumeClaim: { claimName: 'audit' } },
      'networkPolicy.adminFrom': [{ namespaceSelector: {} }],
    }),
  );
  describeDeployment(() => manifests);

  test('they reach the gateway', () => {
    const { config } = manifests.configuration();
    expect(config.hub.maxMessageBytes).toBe(33_554_432);
    expect(config.advertise.addresses[0]).toBe('hub.example.com');
    expect(config.advertise.addresses).toContain('sallyport.edge.svc');
    expect(manifests.pod.terminationGracePeriodSeconds).toBe(12 + 91 + 5);
  });

  test('the ServiceMonitor finds the admin port, which listens for it', () => {
    const { config } = manifests.configuration();
    expect(config.admin.host).toBe('0.0.0.0');
    const monitor = manifests.get('ServiceMonitor').spec!;
    expect(manifests.get('Service', 'sallyport-admin').metadata.labels).toMatchObject(
      monitor.selector!.matchLabels!,
    );
    expect(manifests.get('Service').metadata.labels).not.toMatchObject(monitor.selector!.matchLabels!);
    const [endpoint] = monitor.endpoints!;
    expect(endpoint).toMatchObject({ port: 'admin', scheme: 'https', path: '/metrics' });
    expect(config.advertise.addresses).toContain((endpoint!.tlsConfig as { serverName: string }).serverName);
    expect(JSON.stringify(endpoint)).not.toContain('insecureSkipVerify');
  });

  test('the audit is in files on the volume, which the image may write', () => {
    const { config } = manifests.configuration();
    const mount = manifests.container.volumeMounts.find(({ name }) => name === 'audit')!;
    expect(config.audit.path).toBe(mount.mountPath);
    expect(manifests.pod.volumes).toContainEqual({
      name: 'audit',
      persistentVolumeClaim: { claimName: 'audit' },
    });
    expect(imageEntrypoint()).toContain(`--allow-fs-write=${dirname(mount.mountPath)}`);
  });

  test('helm test looks at the Service as an edge does', async () => {
    const pod = manifests.get('Pod', 'sallyport-test-connection');
    expect(pod.metadata.annotations!['helm.sh/hook']).toBe('test');
    const [{ command }] = (pod.spec as unknown as { containers: [{ command: string[] }] }).containers;
    const { config } = manifests.configuration();
    const [host, port] = command[3]!.split(':');
    expect(config.advertise.addresses).toContain(host);
    expect([port, ...command.slice(4)].map(Number)).toEqual([
      config.https.port,
      config.websocket.port,
      config.quic.port,
    ]);
    const doctor = (await createProgram()).commands.find((known) => known.name() === 'doctor')!;
    for (const [flag] of command[2]!.matchAll(/--[a-z-]+/g))
      expect(doctor.options.map(({ long }) => long)).toContain(flag);
    // It is no gateway: no Service leads to it.
    for (const { spec } of manifests.ofKind('Service'))
      expect(pod.metadata.labels).not.toMatchObject(spec!.selector!);
  });

  test('alerts and dashboard are those of deploy/, and runbooks lead to where the documentation is', () => {
    const { groups } = parse(readFileSync('deploy/prometheus/rules.yaml', 'utf8')) as { groups: object[] };
    const text = JSON.stringify(manifests.get('PrometheusRule').spec!.groups);
    expect(text).toContain('"https://git.example.com/docs/runbooks.md#sallyportabsent"');
    expect(JSON.parse(text.replaceAll('https://git.example.com/docs/', 'docs/'))).toEqual(groups);
    const optional = render(...set({ 'prometheusRule.enabled': true, 'prometheusRule.optional': true }));
    expect(optional.get('PrometheusRule').spec!.groups).toEqual([
      ...groups,
      ...(parse(readFileSync('deploy/prometheus/optional-rules.yaml', 'utf8')) as { groups: object[] })
        .groups,
    ]);
    const map = manifests.get('ConfigMap', 'sallyport-dashboard');
    expect(map.metadata.labels).toMatchObject({ grafana_dashboard: '1' });
    expect(JSON.parse((map as unknown as { data: Record<string, string> }).data['sallyport.json']!)).toEqual(
      JSON.parse(readFileSync('deploy/grafana/sallyport.json', 'utf8')),
    );
  });

  test('bearer tokens add the one cluster-wide binding', () => {
    expect(manifests.ofKind('ClusterRoleBinding').map(({ roleRef }) => roleRef!.name)).toEqual([
      'system:auth-delegator',
    ]);
    const shipped = ['operator', 'viewer'].map((role) => {
      const file = readFileSync(`deploy/kustomize/bearer-tokens/${role}.yaml`, 'utf8');
      return { role, rules: (parse(file) as Manifest).rules };
    });
    expect(
      manifests
        .ofKind('ClusterRole')
        .map(({ metadata, rules }) => ({ role: metadata.name.split('-').at(-1), rules })),
    ).toEqual(shipped);
  });
});

describe('what changes while it runs', () => {
  /** Another valid value. */
  function other({ path, type, allowed, default: value }: Setting): unknown {
    if (path === 'admin.host' || path.endsWith('.host')) return '127.0.0.2';
    if (allowed) return allowed.find((word) => word !== value) ?? value;
    if (type === 'boolean') return value !== true;
    if (type === 'integer') return Number(value) + 1;
    if (type === 'number') return Number(value) === 0 ? 1 : Number(value) * 0.9;
    if (path.startsWith('upstream.') && type === 'array') return ['cloudcore.example.com:10000'];
    if (path === 'bus.nats.servers') return ['nats://other.example.com:4222'];
    if (type === 'array') return path === 'advertise.addresses' ? ['new.example.com'] : ['192.0.2.0/24'];
    if (type === 'object') return { aa: 'edge-1' };
    return 'another';
  }
  // Of no effect, or fixed, in a pod.
  const fixed = /^(apiVersion|kind|secretStore\.(kind|path|context)|https\.enabled)$/;
  const settings = listSettings().filter(({ path }) => !fixed.test(path));
  const before = checksum(render());

  test('B1: no live setting restarts a pod', () => {
    const live = settings.filter((setting) => setting.live);
    expect(live.length).toBeGreaterThan(30);
    const after = render(
      ...set(Object.fromEntries(live.map((setting) => [`config.${setting.path}`, other(setting)]))),
    );
    expect(checksum(after)).toBe(before);
    expect(after.configuration().config.advertise.addresses).toContain('new.example.com');
  });

  test.each(settings.filter((setting) => !setting.live))('$path restarts the pods', (setting) => {
    expect(checksum(render(...set({ [`config.${setting.path}`]: other(setting) })))).not.toBe(before);
  });
});

// Versions of Helm name the place and the rule in other words.
describe('values that make no sense are refused before anything is installed', () => {
  test.each([
    [{ 'config.htps.port': 1 }, /htps/],
    [{ 'config.https.port': 0 }, /config[./]https[./]port.*(minimum|greater)/],
    [{ 'config.https.enabled': false }, /probes/],
    [{ 'config.secretStore.kind': 'directory' }, /kubernetes/],
    [{ 'config.limits.drainMs': 'soon' }, /drainMs/],
    [{ replicas: 2 }, /replicas/],
    [{ replicaCount: 2 }, /config[./]bus[./]kind.*nats/],
    [{ replicaCount: 2, 'config.bus.kind': 'local' }, /config[./]bus[./]kind.*nats/],
    [{ 'config.advertise.addresses': [] }, /config[./]advertise[./]addresses/],
    [{ 'admin.access': '' }, /admin[./]access/],
    [{ 'admin.access': 'everybody' }, /admin[./]access/],
  ])('%j', (values, problem) => {
    expect(() => render(...set(values))).toThrow(problem);
  });
});
