import { createMessage, type Message } from './message.ts';

/** What the hub asks of a node: a new certificate, soon, over the connection it has. */
export interface RenewRequest {
  /** Why, one word: `ca-rollover`. */
  readonly reason: string;
  /** Serial of the certificate to replace, hexadecimal: a node that has another by now has nothing to do. */
  readonly serial: string;
  /**
   * The node begins at a random moment within this time, milliseconds, so that a fleet does not come at once.
   */
  readonly withinMs: number;
}

const ROUTE = { source: 'sallyport', group: 'hub', operation: 'renew', resource: 'certificate' } as const;
/** A day: what is longer is no request. */
const MAX_WITHIN_MS = 86_400_000;

/** @param now milliseconds since the epoch */
export function createRenewRequest(request: RenewRequest, { now }: { now: number }): Message {
  return createMessage(ROUTE, request, { now });
}

/** Undefined for every other message. */
export function readRenewRequest(message: Message): RenewRequest | undefined {
  const { route } = message;
  const isOurs =
    route.source === ROUTE.source && route.group === ROUTE.group && route.operation === ROUTE.operation;
  if (!isOurs || route.resource?.endsWith(ROUTE.resource) !== true) return undefined;
  const { reason, serial, withinMs } = (message.content ?? {}) as Partial<
    Record<keyof RenewRequest, unknown>
  >;
  if (typeof serial !== 'string') return undefined;
  const within = typeof withinMs === 'number' && withinMs >= 0 ? Math.min(withinMs, MAX_WITHIN_MS) : 0;
  return { reason: String(reason ?? ''), serial, withinMs: within };
}
