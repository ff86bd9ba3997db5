import { once } from 'node:events';
import { WebSocket } from 'ws';
import type { EdgeCoreCredentials } from '../edges/edgecore.ts';

/** Opens the tunnel of a node as EdgeCore does. @param claims the name in its header */
export async function openTunnel(
  port: number,
  { claims, credentials: { cert, key } }: { claims: string; credentials: EdgeCoreCredentials },
): Promise<WebSocket> {
  const socket = new WebSocket(`wss://127.0.0.1:${port}/v1/kubeedge/connect`, {
    cert,
    key,
    ca: [],
    rejectUnauthorized: false,
    headers: { SessionHostNameOverride: claims, SessionInternalIP: '192.0.2.7' },
    perMessageDeflate: false,
    skipUTF8Validation: true,
  });
  await once(socket, 'open');
  return socket;
}
