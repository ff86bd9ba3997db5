import type { Replicas } from '../contracts/replicas.ts';
import { type ApiRoute, apiRoute } from './api-route.ts';
import { replicaList } from './schemas/gateway.ts';

export interface ReplicaRouteComponents {
  readonly replicas: Replicas;
}

/** The gateways of the fleet, each in its own words. */
export function replicaRoutes({ replicas }: ReplicaRouteComponents): ApiRoute[] {
  return [
    apiRoute({
      method: 'GET',
      path: '/api/v1/replicas',
      operationId: 'listReplicas',
      tag: 'Gateway',
      summary: 'Every replica that is alive: what runs there, and the fingerprints it serves',
      answers: { 200: { description: 'the replicas, and which did not answer', schema: replicaList } },
      handle: async ({ signal }) => ({ status: 200, body: await replicas.list(signal) }),
    }),
  ];
}
