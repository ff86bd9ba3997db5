import { Dispatcher } from 'undici';

export interface SwallowedCalls extends Disposable {
  /** How many were swallowed. */
  readonly count: number;
}

/**
 * Calls of this process whose path matches never settle, whatever their signal says: undici over HTTP/2 did
 * so after a GOAWAY.
 */
export function swallowCalls(path: RegExp, times = Number.POSITIVE_INFINITY): SwallowedCalls {
  const { request } = Dispatcher.prototype;
  let count = 0;
  Dispatcher.prototype.request = function (this: Dispatcher, options: Dispatcher.RequestOptions) {
    if (count >= times || !path.test(options.path)) return request.call(this, options as never) as never;
    count++;
    return new Promise(() => {});
  } as never;
  return {
    get count() {
      return count;
    },
    [Symbol.dispose]: () => {
      Dispatcher.prototype.request = request;
    },
  };
}
