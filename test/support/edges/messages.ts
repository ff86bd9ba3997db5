import type { DownstreamItem } from '../../../src/contracts/message-bus.ts';
import { createMessage, type Message } from '../../../src/protocol/message.ts';

/** A downstream message of the edge controller about one object, as KubeEdge sends it. */
export function objectMessage(
  name: string,
  version?: string | number,
  { content = `${name}@${version}`, operation = 'update' }: { content?: unknown; operation?: string } = {},
): Message {
  return createMessage(
    { source: 'edgecontroller', group: 'resource', operation, resource: `default/configmap/${name}` },
    content,
    { now: 0, ...(version === undefined ? {} : { resourceVersion: String(version) }) },
  );
}

export function itemFor(node: string, message: Message, extra: Partial<DownstreamItem> = {}): DownstreamItem {
  return { node, message, acknowledged: true, ...extra };
}

/** The value of one metric without labels, or with exactly these. */
export async function metric(
  metrics: { expose(): Promise<string> },
  name: string,
  labels: Record<string, string> = {},
): Promise<number> {
  const line = (await metrics.expose())
    .split('\n')
    .find(
      (text) =>
        new RegExp(`^sallyport_${name}[ {]`).test(text) &&
        Object.entries(labels).every(([key, value]) => text.includes(`${key}="${value}"`)),
    );
  return line ? Number(line.slice(line.lastIndexOf(' '))) : 0;
}
