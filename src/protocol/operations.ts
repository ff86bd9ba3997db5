/**
 * What `route.operation` says in KubeEdge (`beehive/pkg/core/model/message.go`), with `get` of its device
 * twin. The wire takes any word, so programs may have their own.
 */
export const OPERATIONS = [
  'insert',
  'update',
  'patch',
  'delete',
  'query',
  'get',
  'upload',
  'response',
  'error',
] as const;
