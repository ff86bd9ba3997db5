import { expect, test } from 'vitest';
import { createProgram } from '../../../src/cli/program.ts';
import type { Config } from '../../../src/config/schema.ts';
import { historySecretNames } from '../../../src/history/history-shards.ts';
import type { Labels, Manifests } from './manifests.ts';

const LISTENERS = ['https', 'websocket', 'quic', 'webtransport', 'tunnel'] as const;

/** name → port/protocol of what is switched on. */
export function wantedPorts(config: Config): Record<string, string> {
  return Object.fromEntries(
    LISTENERS.filter((name) => config[name].enabled).map((name) => [
      name,
      `${config[name].port}/${name === 'quic' ? 'UDP' : 'TCP'}`,
    ]),
  );
}

/**
 * What both the chart and the plain manifests have to be, whatever their settings. Compared with the code,
 * never with constants.
 */
export function describeDeployment(manifests: () => Manifests): void {
  test('the configuration loads without a warning and keeps Secrets on the cluster', () => {
    const { config, warnings } = manifests().configuration();
    expect(warnings).toEqual([]);
    expect(config.secretStore.kind).toBe('kubernetes');
    expect(config.advertise.addresses).toContain('localhost');
  });

  test('pod, Service and NetworkPolicy offer exactly the listeners that are on', () => {
    const all = manifests();
    const { config } = all.configuration();
    const ports = wantedPorts(config);
    const offered = all.container.ports.map(({ name, containerPort, protocol }) => [
      name,
      `${containerPort}/${protocol}`,
    ]);
    expect(Object.fromEntries(offered)).toEqual({ ...ports, admin: `${config.admin.port}/TCP` });
    const service = all.get('Service').spec!.ports!;
    expect(
      Object.fromEntries(service.map(({ name, port, protocol }) => [name, `${port}/${protocol}`])),
    ).toEqual(ports);
    for (const { name, targetPort } of service) expect(targetPort).toBe(name);
    const open = all.get('NetworkPolicy').spec!.ingress!.filter(({ from }) => from === undefined);
    expect(open.flatMap((rule) => rule.ports.map(({ port }) => port)).sort()).toEqual(
      Object.keys(ports).sort(),
    );
  });

  test('CloudCores can be reached exactly where there are any, on their ports alone', () => {
    const { upstream, bus } = manifests().configuration().config;
    const { addresses, httpsAddresses, tunnelAddresses } = upstream;
    const wanted = [addresses, httpsAddresses, tunnelAddresses]
      .flat()
      .map((address) => Number(address.split(':').at(-1)));
    const egress = manifests().get('NetworkPolicy').spec!.egress as { ports: { port: number }[] }[];
    const ports = egress.flatMap((rule) => rule.ports.map(({ port }) => port));
    const others = new Set([53, 443, 6443, ...(bus.kind === 'nats' ? [4222] : [])]);
    expect(ports.filter((port) => !others.has(port)).sort()).toEqual([...new Set(wanted)].sort());
  });

  test('the admin port is on no Service that has an address outside of the cluster', () => {
    for (const { spec } of manifests().ofKind('Service'))
      if (spec!.ports!.some(({ targetPort }) => targetPort === 'admin')) expect(spec!.type).toBe('ClusterIP');
  });

  test('H2: probes ask over HTTPS what the gateway answers, and a gateway that waits for the API is not restarted', () => {
    const { startupProbe, livenessProbe, readinessProbe } = manifests().container;
    for (const probe of [startupProbe, livenessProbe, readinessProbe]) {
      expect(probe.httpGet).toMatchObject({ scheme: 'HTTPS', port: 'https' });
      expect(probe.timeoutSeconds).toBeGreaterThanOrEqual(2);
    }
    expect(startupProbe.httpGet.path).toBe('/livez');
    expect(livenessProbe.httpGet.path).toBe('/livez');
    expect(readinessProbe.httpGet.path).toBe('/readyz');
  });

  test('H3: the pod is given the time for preStop and for the whole shutdown', () => {
    const all = manifests();
    const [command, seconds] = all.container.lifecycle.preStop.exec.command;
    expect(command).toBe('sleep');
    const { limits } = all.configuration().config;
    expect(all.pod.terminationGracePeriodSeconds).toBeGreaterThan(
      Number(seconds) + limits.stopTimeoutMs / 1000,
    );
    expect(limits.stopTimeoutMs).toBeGreaterThan(limits.drainMs);
  });

  test('A6: the Role grants exactly the configured Secrets, in one namespace', () => {
    const all = manifests();
    const { certificates, tokens, upstream } = all.configuration().config;
    const kept = [
      certificates.caSecret,
      certificates.revocationSecret,
      certificates.rolloverSecret,
      certificates.replicaSecret,
    ];
    const followed = [certificates.trustSecret];
    if (upstream.kind !== 'none' && upstream.caSecret) followed.push(upstream.caSecret);
    (certificates.hubSecretManaged ? kept : followed).push(certificates.hubSecret);
    const granted = new Map<string, Set<string>>();
    for (const rule of all.get('Role').rules!) {
      expect([...rule.verbs, ...rule.resources, ...rule.apiGroups]).not.toContain('*');
      for (const resource of rule.resources)
        for (const name of rule.resourceNames ?? ['(any)']) {
          const verbs = granted.get(`${resource}/${name}`) ?? new Set();
          for (const verb of rule.verbs) verbs.add(verb);
          granted.set(`${resource}/${name}`, verbs);
        }
    }
    const wanted = Object.fromEntries([
      ...kept.map((name) => [`secrets/${name}`, ['get', 'list', 'update', 'watch']]),
      ...followed.map((name) => [`secrets/${name}`, ['get', 'list', 'watch']]),
      [`secrets/${certificates.backupSecret}`, ['get']],
      ...[
        ...historySecretNames(certificates.historySecret, certificates.historyShards),
        tokens.fleetSecret,
        tokens.stateSecret,
      ].map((name) => [`secrets/${name}`, ['get', 'update']]),
      ['secrets/(any)', ['create']],
      ['events/(any)', ['create', 'patch']],
    ]);
    expect(Object.fromEntries([...granted].map(([key, verbs]) => [key, [...verbs].sort()]))).toEqual(wanted);
    // A ClusterRole may exist to be bound to administrators; it is about paths of the admin API, never about
    // objects of the cluster.
    for (const { rules } of all.ofKind('ClusterRole'))
      for (const rule of rules!) expect(Object.keys(rule).sort()).toEqual(['nonResourceURLs', 'verbs']);
  });

  test('A6: the binding leads from the pod to the Role, and only the pod mounts a token', () => {
    const all = manifests();
    const account = all.pod.serviceAccountName;
    const { roleRef, subjects } = all.get('RoleBinding');
    expect(roleRef).toMatchObject({ kind: 'Role', name: all.get('Role').metadata.name });
    expect(subjects).toEqual([
      { kind: 'ServiceAccount', name: account, namespace: all.get('Deployment').metadata.namespace },
    ]);
    expect(all.get('ServiceAccount', account).automountServiceAccountToken).toBe(false);
    expect(all.pod.automountServiceAccountToken).toBe(true);
  });

  test('the pod runs without root, without privileges, on a read-only file system', () => {
    const { pod, container } = manifests();
    expect(pod.securityContext).toMatchObject({
      runAsNonRoot: true,
      seccompProfile: { type: 'RuntimeDefault' },
    });
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    expect(pod.enableServiceLinks).toBe(false);
  });

  test("Node's permission model lets in a native library exactly when QUIC needs one", () => {
    const { container } = manifests();
    const { config } = manifests().configuration();
    const options = container.env.find(({ name }) => name === 'NODE_OPTIONS')?.value;
    expect(options).toBe(config.quic.enabled ? '--allow-addons' : undefined);
    // The image's entrypoint has the flags.
    expect(container).not.toHaveProperty('command');
  });

  test('the command exists, and reads the mounted configuration', async () => {
    const { pod, container } = manifests();
    const [command, ...flags] = container.args;
    const program = await createProgram();
    expect(program.commands.map((known) => known.name())).toContain(command);
    expect(program.options.map(({ long }) => long)).toContain(flags[0]);
    const mount = container.volumeMounts.find(({ name }) => name === 'config')!;
    expect(flags[1]).toBe(`${mount.mountPath}/gateway.yaml`);
    expect(pod.volumes.find(({ name }) => name === 'config')!.configMap!.name).toBe(
      manifests().get('ConfigMap').metadata.name,
    );
  });

  test('replicas are spread, replaced one after the other, and every selector finds them', () => {
    const all = manifests();
    const deployment = all.get('Deployment').spec!;
    const isShared = all.configuration().config.bus.kind === 'nats';
    if (!isShared) expect(deployment.replicas).toBe(1);
    expect(deployment.strategy).toEqual({
      type: 'RollingUpdate',
      rollingUpdate: { maxUnavailable: 0, maxSurge: 1 },
    });
    expect(all.get('PodDisruptionBudget').spec!.maxUnavailable).toBe(1);
    const labels = deployment.template!.metadata.labels!;
    const selectors: Labels[] = [
      deployment.selector!.matchLabels!,
      all.get('PodDisruptionBudget').spec!.selector!.matchLabels!,
      all.get('NetworkPolicy').spec!.podSelector!.matchLabels,
      ...all.ofKind('Service').map(({ spec }) => spec!.selector as Labels),
      ...all.pod.topologySpreadConstraints.map(({ labelSelector }) => labelSelector.matchLabels),
    ];
    expect(selectors.length).toBeGreaterThanOrEqual(7);
    for (const selector of selectors) {
      expect(Object.keys(selector)).not.toHaveLength(0);
      expect(labels).toMatchObject(selector);
    }
  });
}
