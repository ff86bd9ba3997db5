import type { NodeHistory } from '../contracts/node-history.ts';
import { SallyportError } from '../core/errors.ts';
import { type ApiRoute, apiRoute } from './api-route.ts';
import { nodeForecastList, nodeRecordList } from './schemas/nodes.ts';
import { nodeParams } from './schemas/shared.ts';

export interface HistoryRouteComponents {
  readonly history: NodeHistory;
}

/** What is remembered of nodes, connected or not, and what is to be expected of them. */
export function historyRoutes({ history }: HistoryRouteComponents): ApiRoute[] {
  const withForgotten = <T>(items: readonly T[]) => {
    const forgotten = history.forgotten();
    return { items, ...(forgotten ? { forgotten } : {}) };
  };
  return [
    apiRoute({
      method: 'GET',
      path: '/api/v1/nodes/history',
      operationId: 'listNodeHistory',
      tag: 'Nodes',
      summary: 'Every node that was issued a certificate or connected, on any replica',
      answers: { 200: { description: 'the nodes', schema: nodeRecordList } },
      handle: async () => ({ status: 200, body: withForgotten(history.list()) }),
    }),
    apiRoute({
      method: 'GET',
      path: '/api/v1/nodes/forecast',
      operationId: 'forecastNodes',
      tag: 'Nodes',
      summary: 'Which nodes will be back in time to renew their certificate, going by their past',
      answers: { 200: { description: 'a verdict for each node', schema: nodeForecastList } },
      handle: async () => ({ status: 200, body: withForgotten(history.forecast()) }),
    }),
    apiRoute({
      method: 'POST',
      path: '/api/v1/nodes/:node/forget',
      operationId: 'forgetNode',
      tag: 'Nodes',
      summary: 'Forget a node whose hardware is gone; nobody waits for it any more',
      params: nodeParams,
      answers: { 204: { description: 'it is forgotten' } },
      handle: async ({ params: { node } }) => {
        if (!(await history.forget(node))) throw new SallyportError('NODE_UNKNOWN', { node });
        return { status: 204 };
      },
    }),
  ];
}
