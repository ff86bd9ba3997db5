import { describeError, SallyportError } from './errors.ts';

/**
 * LISTEN_FAILED of an address that cannot be bound. @param listener who wanted it @param setting what chooses
 * the port
 */
export function listenFailed(
  listener: string,
  { host, port }: { readonly host: string; readonly port: number },
  cause: unknown,
  setting = `${listener}.port of the configuration`,
): SallyportError {
  const details = { address: `${host}:${port}`, listener, setting, problem: describeError(cause) };
  return new SallyportError('LISTEN_FAILED', details, cause);
}
