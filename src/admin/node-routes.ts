import type { NodeDirectory } from '../contracts/node-directory.ts';
import type { Clock } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import { toSallyportError } from '../core/http-errors.ts';
import type * as z from '../core/zod.ts';
import { closeReason } from '../protocol/close-reasons.ts';
import { createMessage, type Message } from '../protocol/message.ts';
import { type ApiRoute, apiRoute } from './api-route.ts';
import { failureBody } from './json-errors.ts';
import { batchAnswer, batchBody, outcome, queued, sendBody } from './schemas/messages.ts';
import { nodeInfo, nodeList } from './schemas/nodes.ts';
import { nodeParams } from './schemas/shared.ts';

export interface NodeRouteComponents {
  readonly nodes: NodeDirectory;
  readonly clock: Clock;
}

type Sending = z.output<typeof batchBody>['items'][number];

/** Nodes that are connected, on whatever replica, and messages to nodes. */
export function nodeRoutes({ nodes, clock }: NodeRouteComponents): ApiRoute[] {
  const messageOf = ({ id, parent_msg_id: parentId, resourceVersion, content = null, ...rest }: Sending) => {
    const { source, group, operation, resource } = rest;
    return createMessage({ source, group, operation, resource }, content, {
      now: clock.now(),
      ...(id === undefined ? {} : { id }),
      ...(parentId === undefined ? {} : { parentId }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    });
  };
  const send = async (message: Message, { node, wait, timeoutMs }: Sending, signal: AbortSignal) => {
    const timeout = timeoutMs === undefined ? {} : { timeoutMs };
    const result = await nodes.send({ node, message, wait, signal, ...timeout });
    return { ...result, msgId: message.header.msg_id };
  };
  /** What became of one message of many: the failure of one is not that of the others. */
  const outcomeOf = async (sending: Sending, signal: AbortSignal) => {
    const { node } = sending;
    const message = messageOf(sending);
    try {
      return { ...(await send(message, sending, signal)), node };
    } catch (error) {
      const msgId = message.header.msg_id;
      return { kind: 'failed', node, msgId, ...failureBody(toSallyportError(error)) };
    }
  };
  return [
    apiRoute({
      method: 'GET',
      path: '/api/v1/nodes',
      operationId: 'listNodes',
      tag: 'Nodes',
      summary: 'Nodes with a session, on every replica',
      answers: {
        200: { description: 'the nodes, and which replicas did not tell theirs', schema: nodeList },
      },
      handle: async ({ signal }) => ({ status: 200, body: await nodes.list(signal) }),
    }),
    apiRoute({
      method: 'GET',
      path: '/api/v1/nodes/:node',
      operationId: 'getNode',
      tag: 'Nodes',
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
      operationId: 'disconnectNode',
      tag: 'Nodes',
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
      operationId: 'sendMessage',
      tag: 'Messages',
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
        const sending = { ...body, node };
        const result = await send(messageOf(sending), sending, signal);
        return { status: result.kind === 'queued' ? 202 : 200, body: result };
      },
    }),
    apiRoute({
      method: 'POST',
      path: '/api/v1/messages',
      operationId: 'sendMessages',
      tag: 'Messages',
      summary: 'Send up to 1,000 messages to nodes; each has an outcome of its own',
      audit: 'none',
      body: batchBody,
      answers: { 200: { description: 'what became of each', schema: batchAnswer } },
      handle: async ({ body: { items }, signal }) => ({
        status: 200,
        body: { items: await Promise.all(items.map((item) => outcomeOf(item, signal))) },
      }),
    }),
  ];
}
