/** Kinds in a KubeEdge resource path that are followed by the name of a node. */
const NODE_KINDS = new Set(['node', 'nodes', 'nodestatus', 'nodepatch', 'csinode', 'csinodes']);

/**
 * Components that only run in the cloud (module names in KubeEdge `cloud/pkg/common/modules`). Edges copy
 * such a source into acknowledgements, which never get here; anything else in their name is a lie.
 */
const CLOUD_ONLY = new Set([
  'cloudcore',
  'cloudhub',
  'cloudstream',
  'csidriver',
  'devicecontroller',
  'dynamiccontroller',
  'edgecontroller',
  'nodeupgradejobcontroller',
  'policycontroller',
  'router',
  'router_rest',
  'synccontroller',
  'taskmanager',
]);

/**
 * The resource as cloud programs see it: `node/<node>/<resource>` (KubeEdge
 * `cloud/pkg/cloudhub/common/util.go`).
 */
export function withNodePrefix(node: string, resource = ''): string {
  const prefix = `node/${node}`;
  // Most resources do not begin so: nothing to compare.
  const hasPrefix =
    resource.startsWith('node/') && (resource === prefix || resource.startsWith(`${prefix}/`));
  return hasPrefix ? resource : `${prefix}/${resource}`;
}

/** The resource as the edge sees it. */
export function withoutNodePrefix(node: string, resource: string): string {
  const prefix = `node/${node}/`;
  return resource.startsWith(prefix) ? resource.slice(prefix.length) : resource;
}

/**
 * Why a node may not send a message from this source about this resource; undefined when it may (G5). The
 * path decides, whatever the operation; what stands in the content is for the consumer to judge, as it alone
 * knows its form.
 */
export function whyForbidden(
  node: string,
  { source = '', resource = '' }: { readonly source?: string; readonly resource?: string },
): string | undefined {
  if (CLOUD_ONLY.has(source.toLowerCase())) return 'the source is a component of the cloud';
  // Most paths name no node: nothing to split.
  if (!/node|lease|\.\.?(?:\/|$)|\\/i.test(resource)) return undefined;
  let parts = resource.split('/').filter((part) => part !== '');
  if (resource.includes('\\') || parts.includes('.') || parts.includes('..'))
    return 'the resource is not a plain path';
  while (isKind(parts[0], 'node') && parts.length > 1) {
    if (parts[1] !== node) return 'the resource names another node';
    parts = parts.slice(2);
  }
  const named = namedNode(parts);
  return named === undefined || named === node ? undefined : 'the resource names another node';
}

/**
 * The node that `<namespace>/<kind>/<name>` or `<group>/<version>/<kind>/<namespace>/<name>` (EdgeCore's
 * MetaServer) is about.
 */
function namedNode(parts: readonly string[]): string | undefined {
  const [first, second = '', third] = parts;
  if (NODE_KINDS.has(second.toLowerCase())) return third;
  if (isKind(second, 'lease') || isKind(second, 'leases')) {
    return first === 'kube-node-lease' ? third : undefined;
  }
  const isVersioned = /^v\d/.test(second) && NODE_KINDS.has(third?.toLowerCase() ?? '');
  return isVersioned ? parts[4] : undefined;
}

function isKind(part: string | undefined, kind: string): boolean {
  return part?.toLowerCase() === kind;
}
