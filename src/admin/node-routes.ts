import type { NodeDirectory } from '../contracts/node-directory.ts';
import type { Clock } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import { closeReason } from '../protocol/close-reasons.ts';
import { createMessage } from '../protocol/message.ts';
import { type ApiRoute, apiRoute } from './api-route.ts';
import { nodeInfo, nodeList, nodeParams, outcome, queued, sendBody } from './schemas.ts';

export interface NodeRouteComponents {
  readonly nodes: NodeDirectory;
  readonly clock: Clock;
}

/** Nodes that are connected, on whatever replica, and messages to nodes. */
export function nodeRoutes({ nodes, clock }: NodeRouteComponents): ApiRoute[] {
  return [
    apiRoute({
      method: 'GET',
      path: '/api/v1/nodes',
      summary: 'Nodes with a session, on every replica',
      answers: {
        200: { description: 'the nodes, and which replicas did not tell theirs', schema: nodeList },
      },
      handle: async ({ signal }) => ({ status: 200, body: await nodes.list(signal) }),
    }),
    apiRoute({
      method: 'GET',
      path: '/api/v1/nodes/:node',
      summary: 'One connected node',
      params: nodeParams,
      answers: { 200: { description: 'the node', schema: nodeInfo } },
      handle: async ({ params: { node }, signal }) => {
        const found = await nodes.get(node, signal);
        if (found === undefined) throw new SallyportError('NODE_NOT_FOUND', { node });
        return { status: 200, body: found };
      },
    }),
    apiRoute({
      method: 'POST',
      path: '/api/v1/nodes/:node/disconnect',
      summary: 'End the session of a node; it returns by itself',
      audit: 'wanted',
      params: nodeParams,
      answers: { 204: { description: 'the session was ended' } },
      handle: async ({ params: { node }, signal }) => {
        if (!(await nodes.disconnect(node, closeReason('Disconnected'), signal)))
          throw new SallyportError('NODE_NOT_FOUND', { node });
        return { status: 204 };
      },
    }),
    apiRoute({
      method: 'POST',
      path: '/api/v1/nodes/:node/messages',
      summary: 'Send a message to a node',
      audit: 'none',
      params: nodeParams,
      body: sendBody,
      answers: {
        200: {
          description:
            'wait=ack: what became of the message; `dropped` with the reason `duplicate` when one of that id was taken before',
          schema: outcome,
        },
        202: {
          description: 'wait=queued: the message waits for the node, or one of that id was taken before',
          schema: queued,
        },
      },
      handle: async ({ params: { node }, body, signal }) => {
        const {
          id,
          parent_msg_id: parentId,
          source,
          group,
          operation,
          resource,
          resourceVersion,
          content = null,
          wait,
          timeoutMs,
        } = body;
        const message = createMessage({ source, group, operation, resource }, content, {
          now: clock.now(),
          ...(id === undefined ? {} : { id }),
          ...(parentId === undefined ? {} : { parentId }),
          ...(resourceVersion === undefined ? {} : { resourceVersion }),
        });
        const result = await nodes.send({
          node,
          message,
          wait,
          signal,
          ...(timeoutMs === undefined ? {} : { timeoutMs }),
        });
        const msgId = message.header.msg_id;
        return { status: result.kind === 'queued' ? 202 : 200, body: { ...result, msgId } };
      },
    }),
  ];
}
