import type { Config } from '../../config/schema.ts';
import { describeError } from '../../core/errors.ts';
import { splitAddress } from '../../relay/dial.ts';
import type { KubeClient } from '../../secrets/kubernetes/kube-client.ts';
import { saysNotFound } from '../../secrets/kubernetes/kube-errors.ts';
import type { Finding } from './adoption-report.ts';

/** Names that KubeEdge's installers and CloudCore itself use (`cloudcorelease` is its leader election). */
const OBJECTS = {
  'deployment/cloudcore': { api: 'apis/apps/v1', path: 'deployments/cloudcore' },
  'service/cloudcore': { api: 'api/v1', path: 'services/cloudcore' },
  'lease/cloudcorelease': { api: 'apis/coordination.k8s.io/v1', path: 'leases/cloudcorelease' },
} as const;
type ObjectName = keyof typeof OBJECTS;

interface KubeObject {
  readonly spec?: {
    readonly replicas?: number;
    readonly ports?: readonly { readonly port: number; readonly targetPort?: number | string }[];
    readonly holderIdentity?: string;
    readonly template?: {
      readonly spec?: { readonly hostNetwork?: boolean; readonly containers?: readonly { image?: string }[] };
    };
  };
}

/** What of a CloudCore is in the namespace: an object, undefined for none, or why it cannot be looked at. */
export type CloudCoreObjects = ReadonlyMap<ObjectName, KubeObject | { readonly problem: string } | undefined>;

/** Asks for each object by its name; never throws. */
export async function findCloudCore(kube: Pick<KubeClient, 'call' | 'namespace'>): Promise<CloudCoreObjects> {
  const entries = Object.entries(OBJECTS).map(async ([name, { api, path }]) => {
    const request = { method: 'GET', path: `/${api}/namespaces/${kube.namespace}/${path}` } as const;
    const found = await kube
      .call(request)
      .catch((error: unknown) => (saysNotFound(error) ? undefined : { problem: describeError(error) }));
    return [name, found] as [ObjectName, KubeObject | undefined];
  });
  return new Map(await Promise.all(entries));
}

interface Context {
  readonly config: Config;
  readonly add: (level: Finding['level'], object: string, text: string) => void;
}

/** Ports of CloudCore, and the listener of the gateway that takes each. */
const LISTENERS = { 10000: 'websocket', 10001: 'quic', 10002: 'https', 10004: 'tunnel' } as const;

/**
 * What becomes of CloudCore when the gateway stands in front of it. Nothing of it keeps a gateway from
 * starting.
 */
export function reportCloudCore(objects: CloudCoreObjects, config: Config): readonly Finding[] {
  const findings: Finding[] = [];
  const add = (level: Finding['level'], object: string, text: string) =>
    void findings.push({ level, object, text });
  const present: ObjectName[] = [];
  for (const [name, found] of objects) {
    if (!found) continue;
    if ('problem' in found) add('found', name, `it cannot be seen whether it is there: ${found.problem}`);
    else {
      present.push(name);
      describe(name, found, { config, add });
    }
  }
  if (present.length > 0 && config.upstream.kind === 'none')
    add(
      'breaks',
      present[0]!,
      'upstream.kind is none although CloudCore is here: behind the gateway nodes get no answer of its controllers and do not become Ready; set upstream.kind: cloudcore and upstream.addresses',
    );
  if (present.length > 0) shareNames(config, add);
  return findings;
}

/** Gateway and CloudCore read one Secret for the certificate they show. */
function shareNames({ upstream, certificates, advertise }: Config, add: Context['add']): void {
  if (certificates.hubSecret !== 'cloudcoresecret') return;
  const hosts = upstream.addresses.map((address) => splitAddress(address).host);
  const missing = [...new Set(hosts)].filter((host) => !advertise.addresses.includes(host));
  if (missing.length > 0)
    add(
      'breaks',
      certificates.hubSecret,
      `CloudCore shows this certificate too, from its next start on: add ${missing.join(', ')} of upstream.addresses to advertise.addresses, or the gateway will not believe it`,
    );
}

function describe(name: ObjectName, { spec = {} }: KubeObject, { config, add }: Context): void {
  if (name === 'lease/cloudcorelease')
    add('found', name, `held by ${spec.holderIdentity || 'nobody'}; left alone`);
  if (name === 'deployment/cloudcore') {
    const { hostNetwork, containers } = spec.template?.spec ?? {};
    const where = hostNetwork ? ', on the network of its hosts: edges may use their addresses' : '';
    const image = containers?.[0]?.image ?? 'an unknown image';
    add('found', name, `${spec.replicas ?? 1} of ${image}${where}; it keeps running and is not changed`);
  }
  if (name === 'service/cloudcore') describeService(spec, { config, add });
}

function describeService(spec: NonNullable<KubeObject['spec']>, { config, add }: Context): void {
  const name = 'service/cloudcore';
  const ports = (spec.ports ?? []).map(({ port, targetPort }) =>
    typeof targetPort === 'number' ? targetPort : port,
  );
  const listener = (port: number) => LISTENERS[port as keyof typeof LISTENERS];
  const moves = ports.filter((port) => listener(port) && config[listener(port)].enabled);
  const stays = ports.filter((port) => !moves.includes(port));
  const rest =
    stays.length > 0 ? `; ${stays.join(', ')} ${stays.length > 1 ? 'stay' : 'stays'} with CloudCore` : '';
  add(
    'changes',
    name,
    `by you: edges have to reach the gateway at ${moves.join(', ')}${rest}; CloudCore needs another Service, which only the gateway uses`,
  );
  if (ports.includes(10_004) && !config.tunnel.enabled)
    add(
      'breaks',
      name,
      'kubectl logs and exec come over 10004, where the gateway does not listen; tunnel.enabled and upstream.tunnelAddresses open it',
    );
  const own = config.upstream.addresses.find((address) => /^cloudcore[.:]/.test(address));
  if (own !== undefined)
    add(
      'breaks',
      name,
      `upstream.addresses holds ${own}, which is this Service: once it leads to the gateway, the gateway calls itself`,
    );
}
