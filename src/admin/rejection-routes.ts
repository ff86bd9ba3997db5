import type { RejectionDirectory } from '../contracts/rejections.ts';
import { type ApiRoute, apiRoute } from './api-route.ts';
import { rejectionList, rejectionQuery } from './schemas.ts';

export interface RejectionRouteComponents {
  readonly rejections: RejectionDirectory;
}

/** Whom this replica did not let in, and why. */
export function rejectionRoutes({ rejections }: RejectionRouteComponents): ApiRoute[] {
  return [
    apiRoute({
      method: 'GET',
      path: '/api/v1/rejections',
      operationId: 'listRejections',
      tag: 'Nodes',
      summary: 'Nodes and addresses this replica refused, by reason and listener, latest first',
      query: rejectionQuery,
      answers: { 200: { description: 'what is remembered of them', schema: rejectionList } },
      handle: async ({ query: { node, reason } }) => {
        const items = rejections
          .list()
          .filter((one) => node === undefined || one.node === node || one.claimedNode === node)
          .filter((one) => reason === undefined || one.reason === reason);
        return { status: 200, body: { items } };
      },
    }),
  ];
}
