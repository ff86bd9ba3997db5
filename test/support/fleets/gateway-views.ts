import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { NodeInfo } from '../../../src/contracts/node-directory.ts';
import { CredentialStore } from '../../../src/sdk/credential-store.ts';
import { type EdgeCoreCredentials, goGet } from '../edges/edgecore.ts';
import { mintEdge, type Pair } from '../pki/pki.ts';
import { readCa } from './secret-files.ts';
import type { TestGateway } from './test-gateway.ts';

/** The text of `/metrics`, asked for with the admin certificate. */
export async function metricsText(hub: TestGateway): Promise<string> {
  const file = (name: string) => readFileSync(join(hub.folder, name));
  const tls = { ca: file('ca.crt'), cert: file('admin.crt'), key: file('admin.key') };
  const { status, body } = await goGet(hub.port('admin'), '/metrics', { tls });
  if (status !== 200) throw new Error(`/metrics answered ${status}`);
  return body.toString();
}

/** The value of one series; 0 when there is none. @param labels every one has to be there, others may */
export async function metric(
  hub: TestGateway,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number> {
  let sum = 0;
  for (const line of (await metricsText(hub)).split('\n')) {
    const [, series, found = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (series !== `sallyport_${name}`) continue;
    if (Object.entries(labels).every(([label, text]) => found.includes(`${label}="${text}"`)))
      sum += Number(value);
  }
  return sum;
}

export const listNodes = async (hub: TestGateway): Promise<readonly NodeInfo[]> =>
  (await hub.admin.get<{ items: NodeInfo[] }>('/api/v1/nodes')).items;

/**
 * Credentials of a node as the hub's CA might have issued them, valid or not: it is given what `mintEdge`
 * takes.
 */
export async function mintNode(
  hub: TestGateway,
  node: string,
  options: Parameters<typeof mintEdge>[2] = {},
): Promise<EdgeCoreCredentials & { readonly pair: Pair }> {
  const ca = readCa(hub.folder);
  const pair = await mintEdge(ca, node, options);
  return { ca: ca.pem, cert: pair.pem, key: pair.key, pair };
}

/** Puts credentials where the SDK keeps them. */
export async function storeForSdk(
  directory: string,
  node: string,
  { ca, cert, key }: EdgeCoreCredentials,
): Promise<void> {
  await new CredentialStore(directory).save({ node, ca, certificate: cert, key });
}

/** Sends a message to a node over the admin API. */
export function sendDown(
  hub: TestGateway,
  node: string,
  message: {
    resource: string;
    content?: unknown;
    resourceVersion?: string;
    operation?: string;
    wait?: 'ack' | 'queued';
    id?: string;
  },
): Promise<{ kind: string; msgId: string; reason?: string }> {
  return hub.admin.post(`/api/v1/nodes/${node}/messages`, { operation: 'update', content: {}, ...message });
}
