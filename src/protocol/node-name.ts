/** A Kubernetes node name: a DNS subdomain of RFC 1123, lower case, at most 253 characters. */
export const NODE_NAME = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;

export function isNodeName(value: unknown): value is string {
  return typeof value === 'string' && value.length <= 253 && NODE_NAME.test(value);
}
