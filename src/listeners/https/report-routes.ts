import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { UpstreamAsker } from '../../contracts/upstream-relay.ts';
import type { Clock } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import { readMembers } from '../../protocol/content.ts';
import type { HttpsOptions } from './options.ts';
import { identityOf, type ReadPeer } from './peer.ts';
import { sendText } from './plain-answers.ts';
import { requestLimiter } from './rate-limiter.ts';
import { readBody } from './request-body.ts';

export interface ReportRouteComponents {
  readonly peerOf: ReadPeer;
  readonly clock: Clock;
  /** Absent without CloudCore: then nobody takes a report, and there is nothing at these paths. */
  readonly upstream?: UpstreamAsker | undefined;
}

/** A segment of a path that no server reads as something else. */
const PLAIN = /^[A-Za-z0-9][\w.-]{0,252}$/;

interface TaskPath {
  readonly type: string;
  readonly task: string;
  readonly node: string;
}

/**
 * What a node reports about a task of CloudCore, an upgrade for instance (KubeEdge
 * `cloudhub/servers/httpserver/nodetask`). CloudCore believes the names in path and body, so both have to be
 * the certificate's.
 */
export function reportRoutes(
  app: FastifyInstance,
  { peerOf, clock, upstream }: ReportRouteComponents,
  options: () => HttpsOptions,
): void {
  if (!upstream) return;
  const limiter = requestLimiter(clock, options);

  async function pass(
    request: FastifyRequest,
    reply: FastifyReply,
    { path, names }: { readonly path: string; readonly names?: string },
  ): Promise<FastifyReply> {
    const peer = peerOf(request);
    limiter.take(peer.source);
    const { nodeName: node } = identityOf(peer);
    const { bodyBytes, requestTimeoutMs: timeoutMs } = options();
    const body = await readBody(request.raw, { clock, limits: { bodyBytes, timeoutMs } });
    const claimed = [names, ...namesIn(body)].filter((name) => name !== undefined);
    if (claimed.length === 0 || claimed.some((name) => name !== node))
      throw new SallyportError('NODE_MISMATCH');
    const gone = new AbortController();
    reply.raw.once('close', () => gone.abort());
    const answer = await upstream!.ask({ node, method: 'POST', path, body, signal: gone.signal });
    return sendText(reply, answer.status, answer.body.toString());
  }

  app.post('/nodeupgrade', (request, reply) => pass(request, reply, { path: '/nodeupgrade' }));

  app.post<{ Params: TaskPath }>('/task/:type/name/:task/node/:node/status', (request, reply) => {
    const { type, task, node } = request.params;
    if (![type, task, node].every((part) => PLAIN.test(part))) throw new SallyportError('NOT_FOUND');
    return pass(request, reply, { path: `/task/${type}/name/${task}/node/${node}/status`, names: node });
  });
}

/**
 * Every value that CloudCore may take for the name: Go reads keys in any case, and the last one counts.
 * @throws MESSAGE_INVALID
 */
function namesIn(body: Buffer): unknown[] {
  return Object.entries(readMembers(body)).flatMap(([key, value]) =>
    key.normalize('NFKC').toLowerCase() === 'nodename' ? [value?.value] : [],
  );
}
