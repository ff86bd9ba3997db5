import { isNodeName } from '../protocol/node-name.ts';

/** What the subject of a client certificate says. `other` and `malformed` are never an identity. */
export type SubjectReading =
  | { readonly kind: 'node'; readonly nodeName: string }
  | { readonly kind: 'legacy' }
  | { readonly kind: 'other'; readonly problem: string }
  | { readonly kind: 'malformed'; readonly problem: string };

const NODE_PREFIX = 'system:node:';

/**
 * The attributes of a subject as `X509Certificate.subject` prints it: one RDN a line. Node escapes control
 * characters and the specials of RFC 2253 with a backslash and joins multi-valued RDNs with ` + `; neither
 * occurs in a subject of ours, so both are refused instead of understood (requirement D7).
 * @returns undefined for anything strange
 */
export function subjectAttributes(
  subject: string | undefined,
): ReadonlyMap<string, readonly string[]> | undefined {
  const attributes = new Map<string, string[]>();
  if (!subject) return attributes;
  if (subject.length > MAX_SUBJECT || subject.includes('\\')) return undefined;
  for (const line of subject.split('\n')) {
    const at = line.indexOf('=');
    const name = line.slice(0, at);
    const value = line.slice(at + 1);
    if (at < 1 || !ATTRIBUTE_NAME.test(name) || value.includes(' + ') || CONTROL.test(value))
      return undefined;
    const values = attributes.get(name);
    if (values) values.push(value);
    else attributes.set(name, [value]);
  }
  return attributes;
}

const MAX_SUBJECT = 4096;
const ATTRIBUTE_NAME = /^[A-Za-z0-9.-]+$/;
const CONTROL = /\p{Cc}|\p{Cf}|\p{Zl}|\p{Zp}/u;

/**
 * Reads the node out of `O=system:nodes, CN=system:node:<name>` (Kubernetes' node authorizer form, KubeEdge
 * `pkg/apis/componentconfig`): O and CN exactly once each; C, L, ST and other RDNs are ignored.
 */
export function readNodeSubject(subject: string | undefined): SubjectReading {
  const attributes = subjectAttributes(subject);
  if (!attributes) return { kind: 'malformed', problem: 'its subject cannot be read without doubt' };
  const organizations = attributes.get('O') ?? [];
  const names = attributes.get('CN') ?? [];
  if (organizations.length > 1 || names.length > 1)
    return { kind: 'malformed', problem: 'its subject holds O or CN more than once' };
  const [organization, name] = [organizations[0], names[0]];
  if (organization === undefined || name === undefined)
    return { kind: 'other', problem: 'its subject lacks O or CN' };
  // Both spellings are in the field: KubeEdge up to v1.12 and v1.13 to v1.17.
  if ((organization === 'KubeEdge' || organization === 'kubeEdge') && name === 'kubeedge.io')
    return { kind: 'legacy' };
  if (organization !== 'system:nodes' || !name.startsWith(NODE_PREFIX))
    return { kind: 'other', problem: 'its subject is not O=system:nodes, CN=system:node:<name>' };
  const nodeName = name.slice(NODE_PREFIX.length);
  if (!isNodeName(nodeName)) return { kind: 'other', problem: 'the name in its CN is not a node name' };
  return { kind: 'node', nodeName };
}
