import { WebSocket } from 'ws';
import { mintEdge, type Pair } from '../../test/support/pki/pki.ts';

const PROJECT = 'e632aba927ea4ac2b575ec1603d56f10';

export async function mintEdges(
  ca: Pair,
  count: number,
): Promise<{ node: string; cert: string; key: string }[]> {
  const edges = [];
  for (let index = 0; index < count; index++) {
    const node = `bench-${index}`;
    const { pem, key } = await mintEdge(ca, node);
    edges.push({ node, cert: pem, key });
  }
  return edges;
}

/** Opens one WebSocket with a full handshake: no session is ever resumed. */
export function openSocket(
  port: number,
  ca: Pick<Pair, 'pem'>,
  edge: { node: string; cert: string; key: string },
): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`wss://localhost:${port}/${PROJECT}/${edge.node}/events`, {
      cert: edge.cert,
      key: edge.key,
      ca: ca.pem,
      agent: false,
      perMessageDeflate: false,
      headers: { node_id: edge.node, project_id: PROJECT, ConnectionUse: 'msg' },
    });
    socket.once('open', () => resolve(socket));
    socket.once('error', reject);
  });
}

/** Runs `task` over the items, at most `width` at once. */
export async function inParallel<T, R>(
  items: readonly T[],
  width: number,
  task: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results: R[] = new Array(items.length);
  let next = 0;
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (let index = next++; index < items.length; index = next++)
        results[index] = await task(items[index]!, index);
    }),
  );
  return results;
}

/** A KubeEdge message of 256 bytes, as an edge reports a status. */
export function statusMessage(index: number): string {
  const message = {
    header: {
      msg_id: `00000000-0000-4000-8000-${String(index % 1e12).padStart(12, '0')}`,
      timestamp: 1_795_466_360_546,
    },
    route: { source: 'edged', group: 'resource', operation: 'update', resource: 'default/podstatus/pod-1' },
    content: '',
  };
  message.content = 'x'.repeat(256 - Buffer.byteLength(`${JSON.stringify(message)}\n`));
  return `${JSON.stringify(message)}\n`;
}
