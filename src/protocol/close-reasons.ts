import { isSallyportError } from '../core/errors.ts';

/**
 * Why a connection ends: one table for every transport and for the SDK. `retry` is what the edge should do
 * next: `backoff` = try again by itself; `soon` = at once, elsewhere or here, after the hint; `renew` =
 * obtain a new certificate first; `never` = a person has to act. WebSocket codes 4000–4999 are for private
 * use (RFC 6455 §7.4.2); the QUIC application error code is the same number.
 */
export const CLOSE_REASONS = {
  Normal: { code: 1000, text: 'normal closure', retry: 'backoff' },
  Draining: { code: 1012, text: 'the hub is restarting', retry: 'soon' },
  ProtocolError: { code: 1002, text: 'a frame or message was not valid', retry: 'backoff' },
  UnsupportedData: { code: 1003, text: 'only text messages are understood', retry: 'backoff' },
  MessageTooLarge: { code: 1009, text: 'a message is larger than the limit', retry: 'backoff' },
  InternalError: { code: 1011, text: 'an unexpected error happened in the hub', retry: 'backoff' },
  TryAgainLater: { code: 1013, text: 'the hub is at its limit', retry: 'backoff' },
  Unauthenticated: { code: 4401, text: 'the client certificate is refused', retry: 'renew' },
  NodeMismatch: {
    code: 4403,
    text: 'the connection names another node than its certificate',
    retry: 'never',
  },
  KeepaliveTimeout: { code: 4408, text: 'nothing was heard from the node in time', retry: 'backoff' },
  TakenOver: { code: 4409, text: 'a newer connection of the same node took over', retry: 'backoff' },
  Flapping: { code: 4410, text: 'two devices seem to use the certificate of this node', retry: 'backoff' },
  TrustRemoved: { code: 4411, text: 'the CA of this certificate is no longer trusted', retry: 'renew' },
  CertificateExpired: { code: 4412, text: 'the certificate of this node has expired', retry: 'renew' },
  Revoked: { code: 4413, text: 'the certificate or node is revoked', retry: 'never' },
  Quarantined: {
    code: 4418,
    text: 'the node is quarantined until an administrator lifts it',
    retry: 'backoff',
  },
  SlowConsumer: { code: 4414, text: 'the node did not take its messages in time', retry: 'backoff' },
  Disconnected: { code: 4415, text: 'an operator disconnected the node', retry: 'backoff' },
  StreamTimeout: {
    code: 4416,
    text: 'the connection did not complete its opening in time',
    retry: 'backoff',
  },
  Rebalance: { code: 4417, text: 'the hub asks for a new connection', retry: 'soon' },
} as const satisfies Record<string, CloseReasonDefinition>;

interface CloseReasonDefinition {
  readonly code: number;
  readonly text: string;
  readonly retry: 'backoff' | 'soon' | 'renew' | 'never';
}

export type CloseReasonName = keyof typeof CLOSE_REASONS;

export interface CloseReason extends CloseReasonDefinition {
  readonly name: CloseReasonName;
  /** How long the edge should wait before it returns, milliseconds; given with `soon`. */
  readonly reconnectAfterMs?: number;
}

/** @param reconnectAfterMs hint for the edge; jitter it, so that a fleet does not return at once */
export function closeReason(name: CloseReasonName, reconnectAfterMs?: number): CloseReason {
  return { name, ...CLOSE_REASONS[name], ...(reconnectAfterMs === undefined ? {} : { reconnectAfterMs }) };
}

/** How a connection ends whose message could not be decoded, and under which word it is counted. */
export function refusalOf(error: unknown): { readonly close: CloseReasonName; readonly counted: string } {
  if (isSallyportError(error, 'MESSAGE_TOO_LARGE')) return { close: 'MessageTooLarge', counted: 'too-large' };
  if (isSallyportError(error, 'CONTENT_TOO_DEEP', 'CONTENT_TOO_MANY_VALUES'))
    return { close: 'MessageTooLarge', counted: error.code.toLowerCase().replaceAll('_', '-') };
  if (isSallyportError(error, 'MESSAGE_INVALID')) return { close: 'ProtocolError', counted: 'malformed' };
  return { close: 'InternalError', counted: 'internal-error' };
}

/**
 * The text that travels in a close frame: the name, and the hint when there is one. At most 123 bytes (RFC
 * 6455 §5.5).
 */
export function closeText(reason: CloseReason): string {
  const hint =
    reason.reconnectAfterMs === undefined ? '' : ` reconnectAfterMs=${Math.round(reason.reconnectAfterMs)}`;
  return `${reason.name}: ${reason.text}${hint}`.slice(0, 123);
}

/**
 * Reads what {@link closeText} wrote; a code without our text falls back to the table, an unknown one to
 * undefined.
 */
export function parseClose(code: number, text: string): CloseReason | undefined {
  const name =
    /^(\w+):/.exec(text)?.[1] ??
    Object.entries(CLOSE_REASONS).find(([, reason]) => reason.code === code)?.[0];
  if (name === undefined || !Object.hasOwn(CLOSE_REASONS, name)) return undefined;
  const hint = /reconnectAfterMs=(\d{1,9})/.exec(text)?.[1];
  return closeReason(name as CloseReasonName, hint === undefined ? undefined : Number(hint));
}

/**
 * Why an edge closed, as far as the hub believes it: it meant to (1000, 1001, or no code: RFC 6455 §7.4.1),
 * or the connection broke for it. The words of our table are ours; an edge that says `Revoked` is not
 * revoked.
 */
export function closeByEdge(code: number): CloseReason | undefined {
  return code === 1000 || code === 1001 || code === 1005 ? closeReason('Normal') : undefined;
}
