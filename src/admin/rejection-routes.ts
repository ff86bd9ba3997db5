import type { RejectionDirectory } from '../contracts/rejections.ts';
import { type ApiRoute, apiRoute } from './api-route.ts';
import { rejectionList, rejectionQuery } from './schemas/nodes.ts';

export interface RejectionRouteComponents {
  /** Of the whole fleet; `rejections` of other parts is where this replica reports its own. */
  readonly refused: RejectionDirectory;
}

/** Whom the replicas did not let in, and why. */
export function rejectionRoutes({ refused }: RejectionRouteComponents): ApiRoute[] {
  return [
    apiRoute({
      method: 'GET',
      path: '/api/v1/rejections',
      operationId: 'listRejections',
      tag: 'Nodes',
      summary: 'Nodes and addresses that were refused, by replica, reason and listener, latest first',
      query: rejectionQuery,
      answers: {
        200: {
          description: 'what is remembered of them, and which replicas did not tell theirs',
          schema: rejectionList,
        },
      },
      handle: async ({ query, signal }) => ({ status: 200, body: await refused.list(query, signal) }),
    }),
  ];
}
