import { isNodeName } from '../../protocol/node-name.ts';
import { type Fields, only, type RequestHead } from './request-head.ts';

/** What an edge says it is before the upgrade: nothing of it is believed before it equals its certificate. */
export interface UpgradeRequest {
  readonly projectId: string;
  /** Node in the path. */
  readonly pathNode: string;
  /** Header `node_id`; undefined when it is missing or there are several. */
  readonly nodeId: string | undefined;
  readonly agent: string | undefined;
  /** `Sec-WebSocket-Key`. */
  readonly key: string;
}

export type UpgradeReading =
  | { readonly ok: true; readonly request: UpgradeRequest }
  | { readonly ok: false; readonly status: 400 | 404 | 426; readonly detail: string };

/**
 * `/<project_id>/<node>/events`, nothing before or after it (KubeEdge `viaduct/pkg/lane`,
 * `cloudhub/common/model`).
 */
const PATH = /^\/([A-Za-z0-9._-]{1,128})\/([a-z0-9.-]{1,253})\/events$/;
/** 16 bytes in base64 (RFC 6455 §4.2.1). */
const KEY = /^[+/0-9A-Za-z]{22}==$/;

/** Whether an upgrade to WebSocket is asked for at all, rightly or not (RFC 6455 §4.2.1). */
export function asksForUpgrade(fields: Fields): boolean {
  if (only(fields, 'upgrade')?.toLowerCase() !== 'websocket') return false;
  const tokens = fields.get('connection')?.toLowerCase().split(/[,\n]/) ?? [];
  return tokens.some((token) => token.trim() === 'upgrade');
}

export function readUpgrade({ target, fields }: Pick<RequestHead, 'target' | 'fields'>): UpgradeReading {
  const [, projectId, pathNode] = PATH.exec(target) ?? [];
  if (projectId === undefined || !isNodeName(pathNode))
    return { ok: false, status: 404, detail: 'the path has to be /<project_id>/<node>/events' };
  if ((fields.get('project_id') ?? projectId) !== projectId)
    return { ok: false, status: 400, detail: 'header project_id has to be the project_id of the path' };
  if (only(fields, 'sec-websocket-version') !== '13')
    return { ok: false, status: 426, detail: 'header Sec-WebSocket-Version has to be 13, once' };
  const key = only(fields, 'sec-websocket-key');
  if (key === undefined || !KEY.test(key))
    return { ok: false, status: 400, detail: 'header Sec-WebSocket-Key has to be 16 bytes in base64, once' };
  const agent = printable(fields.get('user-agent'));
  return { ok: true, request: { projectId, pathNode, nodeId: only(fields, 'node_id'), agent, key } };
}

const MAX_AGENT = 128;

function printable(text: string | undefined): string | undefined {
  return text === undefined ? undefined : text.replace(/[^\x20-\x7e]/g, '?').slice(0, MAX_AGENT);
}
