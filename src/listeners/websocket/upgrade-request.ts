import type { IncomingMessage } from 'node:http';
import { isNodeName } from '../../protocol/node-name.ts';

/** What an edge says it is before the upgrade: nothing of it is believed before it equals its certificate. */
export interface UpgradeRequest {
  readonly projectId: string;
  /** Node in the path. */
  readonly pathNode: string;
  /** Header `node_id`; undefined when it is missing or there are several. */
  readonly nodeId: string | undefined;
  readonly agent: string | undefined;
}

export type UpgradeReading =
  | { readonly ok: true; readonly request: UpgradeRequest }
  | { readonly ok: false; readonly status: 400 | 404; readonly detail: string };

/**
 * `/<project_id>/<node>/events`, nothing before or after it (KubeEdge `viaduct/pkg/lane`,
 * `cloudhub/common/model`).
 */
const PATH = /^\/([A-Za-z0-9._-]{1,128})\/([a-z0-9.-]{1,253})\/events$/;

export function readUpgrade(request: IncomingMessage): UpgradeReading {
  const [, projectId, pathNode] = PATH.exec(request.url ?? '') ?? [];
  if (projectId === undefined || !isNodeName(pathNode))
    return { ok: false, status: 404, detail: 'the path has to be /<project_id>/<node>/events' };
  const nodeIds = headerValues(request, 'node_id');
  const projectIds = headerValues(request, 'project_id');
  if (projectIds.length > 1 || (projectIds.length === 1 && projectIds[0] !== projectId))
    return { ok: false, status: 400, detail: 'header project_id has to be the project_id of the path' };
  return {
    ok: true,
    request: {
      projectId,
      pathNode,
      nodeId: nodeIds.length === 1 ? nodeIds[0] : undefined,
      agent: printable(request.headers['user-agent']),
    },
  };
}

/**
 * Every value of a header: `headers` joins duplicates, which must not pass for one. Names are compared
 * without case (RFC 9110 §5.1).
 */
function headerValues({ rawHeaders }: IncomingMessage, name: string): string[] {
  const values: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2)
    if (rawHeaders[at]!.toLowerCase() === name) values.push(rawHeaders[at + 1]!);
  return values;
}

const MAX_AGENT = 128;

function printable(text: string | undefined): string | undefined {
  return text === undefined ? undefined : text.replace(/[^\x20-\x7e]/g, '?').slice(0, MAX_AGENT);
}
