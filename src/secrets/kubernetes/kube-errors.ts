import { describeError, isSallyportError, SallyportError } from '../../core/errors.ts';

export type KubeVerb = 'get' | 'list' | 'watch' | 'create' | 'update';

/** The API answered, and the answer is no. Its message is not kept: it may quote what was sent. */
export class KubeApiError extends Error {
  override readonly name = 'KubeApiError';
  readonly status: number;
  /** Kubernetes' `metav1.StatusReason`; empty when the answer was not one of its own. */
  readonly reason: string;
  /** Kind of what was not found, when the answer says. */
  readonly kind: string;
  readonly retryAfterMs: number | undefined;

  constructor(answer: { status: number; reason: string; kind?: string; retryAfterMs?: number | undefined }) {
    super(`the API answered ${answer.status}${answer.reason ? ` ${answer.reason}` : ''}`);
    this.status = answer.status;
    this.reason = answer.reason;
    this.kind = answer.kind ?? '';
    this.retryAfterMs = answer.retryAfterMs;
  }
}

/** True only for the API's own word that the object does not exist: a proxy's 404 page is not that. */
export function saysNotFound(error: unknown): boolean {
  return (
    error instanceof KubeApiError &&
    error.status === 404 &&
    error.reason === 'NotFound' &&
    error.kind !== 'namespaces'
  );
}

/** The version that was asked for has been compacted away: read everything again. */
export function saysExpired(error: unknown): boolean {
  return error instanceof KubeApiError && (error.status === 410 || error.reason === 'Expired');
}

/** Turns what a call for a Secret failed with into our codes. */
export function translateKubeError(error: unknown, verb: KubeVerb, secret: string): SallyportError {
  if (isSallyportError(error) && error.code.startsWith('SECRET_')) return error;
  if (!(error instanceof KubeApiError)) return unavailable(describeNetworkError(error), error);
  const { status, reason, retryAfterMs } = error;
  if (status === 401) return unavailable('the API does not accept our credentials (401)', error);
  if (status === 403) return new SallyportError('SECRET_STORE_FORBIDDEN', { verb, secret }, error);
  if (status === 409 && reason === 'AlreadyExists')
    return new SallyportError('SECRET_ALREADY_EXISTS', { secret }, error);
  if (status === 409 && verb === 'update') return new SallyportError('SECRET_CONFLICT', { secret }, error);
  if (saysNotFound(error) && verb === 'update')
    return new SallyportError('SECRET_NOT_FOUND', { secret }, error);
  if (error.kind === 'namespaces') return unavailable('the namespace does not exist', error);
  if (status === 413 || status === 422)
    return new SallyportError(
      'SECRET_MALFORMED',
      { secret, problem: `the API refuses it (${status})` },
      error,
    );
  return unavailable(error.message, error, retryAfterMs);
}

function unavailable(problem: string, cause: unknown, retryAfterMs?: number): SallyportError {
  return new SallyportError(
    'SECRET_STORE_UNAVAILABLE',
    { problem, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) },
    cause,
  );
}

function describeNetworkError(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  return code ? `${describeError(error)} (${code})` : describeError(error);
}
