import type { CaRolloverAdmin } from '../contracts/ca-rollover.ts';
import { type ApiRoute, apiRoute } from './api-route.ts';
import { rolloverBody, rolloverParams, rolloverQuery, rolloverStatus } from './schemas/rollover.ts';

export interface RolloverRouteComponents {
  readonly rollover: CaRolloverAdmin;
}

/** The replacement of the CA, step by step. */
export function rolloverRoutes({ rollover }: RolloverRouteComponents): ApiRoute[] {
  return [
    apiRoute({
      method: 'GET',
      path: '/api/v1/ca/rollover',
      operationId: 'getRollover',
      tag: 'CA rollover',
      summary: 'Where the CA rollover is, which nodes depend on which CA, and what blocks the next step',
      query: rolloverQuery,
      answers: { 200: { description: 'its state', schema: rolloverStatus } },
      handle: async ({ query: { limit } }) => ({ status: 200, body: rollover.status({ limit }) }),
    }),
    apiRoute({
      method: 'POST',
      path: '/api/v1/ca/rollover/:step',
      operationId: 'takeRolloverStep',
      tag: 'CA rollover',
      summary: 'Take a step of the CA rollover; abort takes the last one back',
      params: rolloverParams,
      body: rolloverBody,
      answers: {
        200: { description: 'the state after it', schema: rolloverStatus },
        409: { description: 'not in this phase, or blocked: the message says by what' },
      },
      handle: async ({ params: { step }, body: { force }, caller }) => ({
        status: 200,
        body: await rollover.step({ step, force, by: caller.name }),
      }),
    }),
  ];
}
