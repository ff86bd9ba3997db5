import type { Message } from '../../../src/protocol/message.ts';
import type { ApiObject, FakeApi } from './fake-api.ts';

/** What CloudCore says to one message of a node; `pushed` are resources it sends after the answer. */
export interface Answer {
  readonly content: unknown;
  readonly operation?: 'response' | 'applicationResponse';
  readonly source?: string;
  readonly resource?: string;
  readonly version?: string | undefined;
  readonly pushed?: readonly string[];
}

/** The controllers of CloudCore, as far as an EdgeCore hears of them. Undefined: it says nothing. */
export function answerTo({ route, content }: Message, api: FakeApi): Answer | undefined {
  const { source = '', operation = '', resource = '' } = route;
  if (source === 'metaserver') return metaserver(resource, content);
  if (source !== 'edged' && source !== 'metamanager') return undefined;
  const [space = '', kind = '', name = ''] = resource.split('/');
  if (kind === 'event') return undefined;
  if (kind === 'node') return node(operation, name, content, api);
  if (kind === 'nodepatch') return patched(`null/node/${name}`, content, api);
  if (kind === 'podpatch') return patched(`${space}/pod/${name}`, content, api);
  if (kind === 'lease') return lease(operation, { resource, name, content }, api);
  const object = api.objects.get(resource);
  if (!object) return { content: notFound(kind, name) };
  return { content: object, version: object.metadata.resourceVersion };
}

function node(operation: string, name: string, content: unknown, api: FakeApi): Answer {
  const key = `null/node/${name}`;
  const known = api.objects.get(key);
  if (operation === 'query') return { content: known ?? notFound('node', name) };
  if (known) {
    const message = `nodes "${name}" already exists`;
    const details = { name, kind: 'nodes' };
    const ErrStatus = {
      metadata: {},
      status: 'Failure',
      message,
      reason: 'AlreadyExists',
      details,
      code: 409,
    };
    return { content: { Object: { metadata: { creationTimestamp: null } }, Err: { ErrStatus } } };
  }
  return {
    content: { Object: api.put(key, content as ApiObject, { node: name }), Err: null },
    pushed: [key],
  };
}

function patched(key: string, content: unknown, api: FakeApi): Answer {
  const known = api.objects.get(key);
  if (!known) return { content: { Object: null, Err: notFound(key.split('/')[1]!, key.split('/')[2]!) } };
  if (content === '{}')
    return { content: { Object: known, Err: null }, version: known.metadata.resourceVersion };
  const { status } = JSON.parse(String(content)) as { status?: object };
  const object = api.put(key, { status: { ...(known.status as object | undefined), ...status } });
  return { content: { Object: object, Err: null }, version: object.metadata.resourceVersion, pushed: [key] };
}

function lease(
  operation: string,
  { resource, name, content }: { resource: string; name: string; content: unknown },
  api: FakeApi,
): Answer {
  if (operation !== 'query')
    return { content: { Object: api.put(resource, content as ApiObject), Err: null } };
  const known = api.objects.get(resource);
  if (known) return { content: { Object: known, Err: null } };
  return { content: { Object: null, Err: notFound('lease', name, 'coordination.k8s.io') } };
}

function metaserver(resource: string, content: unknown): Answer {
  const answer = { operation: 'applicationResponse', source: 'dynamiccontroller' } as const;
  if (resource === 'watchapp/sync') return { ...answer, resource, content: {} };
  const application = { ...(content as object), Status: 'Approved', Reason: '' };
  return { ...answer, resource: 'ignore/Application/ignore', content: application };
}

function notFound(kind: string, name: string, group?: string) {
  const message = `${group ? `${kind}.${group}` : kind} "${name}" not found`;
  const details = { name, ...(group ? { group } : {}), kind };
  return { ErrStatus: { metadata: {}, status: 'Failure', message, reason: 'NotFound', details, code: 404 } };
}
