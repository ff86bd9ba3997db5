import type { KnockRequest } from '../../contracts/handshake.ts';
import { askHttps } from '../../core/ask-https.ts';

/** Asks for an upgrade as an edge would. @returns the status. @throws Error when there is no answer */
export function knockWebSocket({ node, ...request }: KnockRequest): Promise<number> {
  return askHttps(request, {
    path: `/self-test/${node}/events`,
    headers: {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': Buffer.alloc(16).toString('base64'),
      node_id: node,
      project_id: 'self-test',
    },
  });
}
