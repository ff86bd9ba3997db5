import type { NodeHistory } from '../contracts/node-history.ts';
import type { RevocationAdmin, RevocationReceipt, RevocationTarget } from '../contracts/revocations.ts';
import { SallyportError } from '../core/errors.ts';
import { type ApiRoute, apiRoute } from './api-route.ts';
import {
  liftBody,
  quarantineBody,
  revocationList,
  revocationParams,
  revocationReceipt,
  revokeBody,
} from './schemas/revocations.ts';

export interface RevocationRouteComponents {
  readonly revocations: RevocationAdmin;
  readonly history: Pick<NodeHistory, 'get'>;
}

const receiptAnswer = {
  200: { description: 'stored and in force here; what each replica has done', schema: revocationReceipt },
} as const;

/** Who is shut out, and the proof of it. */
export function revocationRoutes({ revocations, history }: RevocationRouteComponents): ApiRoute[] {
  /** A name that nobody has may be a slip; it is shut out all the same, in case it comes. */
  const told = (receipt: RevocationReceipt, node: string | undefined) =>
    node === undefined || history.get(node) ? receipt : { ...receipt, unknownNode: true };
  return [
    apiRoute({
      method: 'GET',
      path: '/api/v1/revocations',
      operationId: 'listRevocations',
      tag: 'Revocations',
      summary: 'Revoked and quarantined nodes and certificates',
      answers: { 200: { description: 'the list in force here', schema: revocationList } },
      handle: async () => ({ status: 200, body: revocations.list() }),
    }),
    apiRoute({
      method: 'GET',
      path: '/api/v1/revocations/replicas',
      operationId: 'getRevocationReceipts',
      tag: 'Revocations',
      summary: 'Which version of the list each replica has in force, and the sessions it closed',
      answers: { 200: { description: 'the receipts of all replicas', schema: revocationReceipt } },
      handle: async () => ({ status: 200, body: revocations.replicas() }),
    }),
    apiRoute({
      method: 'GET',
      path: '/api/v1/revocations/:id',
      operationId: 'getRevocation',
      tag: 'Revocations',
      summary: 'One entry, and what each replica has done about it',
      params: revocationParams,
      answers: { 200: { description: 'the entry and its receipts', schema: revocationReceipt } },
      handle: async ({ params: { id } }) => {
        const receipt = revocations.receipt(id);
        if (!receipt) throw new SallyportError('REVOCATION_NOT_FOUND', { target: `entry ${id}` });
        return { status: 200, body: receipt };
      },
    }),
    apiRoute({
      method: 'POST',
      path: '/api/v1/revocations',
      operationId: 'revoke',
      tag: 'Revocations',
      summary: 'Shut out a node or one certificate, on every transport and replica',
      audit: 'wanted',
      body: revokeBody,
      answers: receiptAnswer,
      handle: async ({ body, caller }) => {
        const { reason, note } = body;
        const target = targetOf(body);
        if ('serial' in target && caller.serial !== undefined && sameSerial(target.serial, caller.serial))
          throw new SallyportError('REVOKES_ITSELF');
        const receipt = await revocations.revoke({
          target,
          reason,
          by: caller.name,
          ...(note === undefined ? {} : { note }),
        });
        return { status: 200, body: told(receipt, body.node) };
      },
    }),
    apiRoute({
      method: 'POST',
      path: '/api/v1/revocations/quarantine',
      operationId: 'quarantineNode',
      tag: 'Revocations',
      summary: 'Shut out a node for the time being',
      audit: 'wanted',
      body: quarantineBody,
      answers: receiptAnswer,
      handle: async ({ body: { node, note }, caller }) => {
        const receipt = await revocations.revoke({
          target: { node },
          reason: 'certificateHold',
          by: caller.name,
          ...(note === undefined ? {} : { note }),
        });
        return { status: 200, body: told(receipt, node) };
      },
    }),
    apiRoute({
      method: 'POST',
      path: '/api/v1/revocations/lift',
      operationId: 'liftRevocation',
      tag: 'Revocations',
      summary: 'Let a node or certificate in again',
      body: liftBody,
      answers: receiptAnswer,
      handle: async ({ body, caller }) => {
        const receipt = await revocations.lift({
          target: targetOf(body),
          rejoin: body.rejoin,
          by: caller.name,
        });
        return { status: 200, body: receipt };
      },
    }),
  ];
}

/** The schema has seen to it that there is exactly one of the two. */
function targetOf(body: {
  node?: string | undefined;
  serial?: string | undefined;
  issuerSha256?: string | undefined;
}): RevocationTarget {
  if (body.node !== undefined) return { node: body.node };
  const { serial = '', issuerSha256 } = body;
  return { serial, ...(issuerSha256 === undefined ? {} : { issuerSha256 }) };
}

function sameSerial(a: string, b: string): boolean {
  const plain = (text: string) =>
    text
      .replace(/[^0-9a-f]/gi, '')
      .replace(/^0+/, '')
      .toUpperCase();
  return plain(a) === plain(b);
}
