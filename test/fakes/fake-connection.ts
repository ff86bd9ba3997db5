import type {
  ConnectionStats,
  EdgeConnection,
  EdgeConnectionHandler,
} from '../../src/contracts/edge-connection.ts';
import { SallyportError } from '../../src/core/errors.ts';
import type { NodeIdentity } from '../../src/identity/node-identity.ts';
import type { CloseReason } from '../../src/protocol/close-reasons.ts';
import type { TransportName } from '../../src/protocol/listener-names.ts';
import {
  createMessage,
  createResponse,
  type Message,
  type MessageRoute,
} from '../../src/protocol/message.ts';

/** The identity that a certificate of the node would give. */
export function identityOf(node: string, notAfter = Date.UTC(2099, 0, 1)): NodeIdentity {
  return {
    nodeName: node,
    legacy: false,
    certificate: {
      serial: '01AB',
      sha256: 'a'.repeat(64),
      issuerSha256: 'b'.repeat(64),
      issuer: 'CN=KubeEdge',
      notBefore: 0,
      notAfter,
    },
  };
}

/** A connection in memory: what the hub sends lands in `sent`, and the test speaks for the edge. */
export class FakeConnection implements EdgeConnection {
  readonly transport: TransportName = 'websocket';
  readonly remoteAddress = '192.0.2.7';
  readonly projectId = 'e632aba927ea4ac2b575ec1603d56f10';
  readonly peer: NodeIdentity;
  readonly agent?: string;
  readonly sent: Message[] = [];
  handler: EdgeConnectionHandler | undefined;
  closedWith: CloseReason | undefined;
  /** Answers every downstream message as EdgeCore does. */
  acknowledges = false;
  /** While set, `send` does not resolve. */
  stalled: Promise<void> | undefined;
  /** What `send` rejects with. */
  sendError: Error | undefined;

  constructor(peer: NodeIdentity | string, agent?: string) {
    if (agent !== undefined) this.agent = agent;
    this.peer = typeof peer === 'string' ? identityOf(peer) : peer;
  }

  stats(): ConnectionStats {
    return { bytesReceived: 0, bytesSent: this.sent.length * 100, bytesBuffered: 0 };
  }

  receive(handler: EdgeConnectionHandler): void {
    this.handler = handler;
  }

  async send(message: Message): Promise<void> {
    if (this.closedWith) throw new SallyportError('SESSION_CLOSED', { reason: this.closedWith.name });
    if (this.sendError) throw this.sendError;
    this.sent.push(message);
    await this.stalled;
    if (this.acknowledges) setImmediate(() => this.acknowledge(message));
  }

  close(reason: CloseReason): void {
    this.closedWith ??= reason;
  }

  // — the edge's part —

  says(
    route: MessageRoute,
    content: unknown = null,
    options: { sync?: boolean; parentId?: string } = {},
  ): { message: Message; taken: void | Promise<void> } {
    const message = createMessage(route, content, { now: 0, ...options });
    return { message, taken: this.handler?.onMessage(message, 256) };
  }

  acknowledge(message: Message, operation: 'response' | 'error' = 'response'): void {
    this.handler?.onMessage(createResponse(message, 'OK', { now: 0, operation }), 256);
  }

  keepalive(): void {
    this.says({ source: 'websocket', group: 'resource', operation: 'keepalive', resource: 'node' }, 'ping');
  }

  /** The socket is gone. */
  vanish(): void {
    this.handler?.onClose(undefined);
  }

  get resources(): (string | undefined)[] {
    return this.sent.map(({ route }) => route.resource);
  }

  get contents(): unknown[] {
    return this.sent.map(({ content }) => content);
  }
}
