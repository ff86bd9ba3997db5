import { SallyportError } from '../core/errors.ts';
import { type CloseReason, type CloseReasonName, parseClose } from './close-reasons.ts';
import { encodeFrame, FRAME_TYPES } from './codec-framed.ts';
import { refusalOfAlert } from './rejection-reasons.ts';

/** What hub and edge say to each other on the control stream of QUIC: docs/protocol-quic.md has the bytes. */
export const QUIC_ALPN = 'sallyport/1';

/** The first frame of an edge. Names as on the wire. */
export interface Hello {
  readonly node_id: string;
  readonly project_id: string;
  /** Name and version of the SDK. */
  readonly sdk?: string;
  /** The session this connection continues, as `Welcome.session` named it. */
  readonly resume?: string;
}

/** The answer of the hub; from then on messages may flow. */
export interface Welcome {
  readonly session: string;
  /** Changes with every start of the hub. */
  readonly epoch: string;
  /** Largest payload of a message frame the hub takes, bytes. */
  readonly max_message_bytes: number;
}

export function encodeHello(hello: Hello): Uint8Array {
  return encodeFrame(FRAME_TYPES.hello, Buffer.from(JSON.stringify(hello)));
}

/** @throws MESSAGE_INVALID */
export function parseHello(payload: Uint8Array): Hello {
  const { node_id, project_id, sdk, resume } = parseObject(payload);
  if (!isText(node_id, 1)) throw invalid('node_id is not a name');
  if (!isText(project_id)) throw invalid('project_id is not a string');
  if (sdk !== undefined && !isText(sdk)) throw invalid('sdk is not a string');
  if (resume !== undefined && !isText(resume)) throw invalid('resume is not a string');
  return {
    node_id,
    project_id,
    ...(sdk === undefined ? {} : { sdk }),
    ...(resume === undefined ? {} : { resume }),
  };
}

export function encodeWelcome(welcome: Welcome): Uint8Array {
  return encodeFrame(FRAME_TYPES.welcome, Buffer.from(JSON.stringify(welcome)));
}

/** @throws MESSAGE_INVALID */
export function parseWelcome(payload: Uint8Array): Welcome {
  const { session, epoch, max_message_bytes } = parseObject(payload);
  if (!isText(session, 1)) throw invalid('session is not an id');
  if (!isText(epoch, 1)) throw invalid('epoch is not an id');
  if (!Number.isSafeInteger(max_message_bytes)) throw invalid('max_message_bytes is not an integer');
  return { session, epoch, max_message_bytes: max_message_bytes as number };
}

/** Longest reason text of a QUIC close: it has to fit into one packet beside everything else. */
const MAX_REASON_BYTES = 400;

/**
 * The reason text of a refused connection, beside the close reason's code: `<close reason>: <word>:
 * <detail>`, where the word is the refusal reason of the gate (`expired`, `node-mismatch`, …).
 */
export function refusalText(
  name: CloseReasonName,
  word: string,
  detail: string,
  retryAfterMs?: number,
): string {
  const hint = retryAfterMs === undefined ? '' : ` reconnectAfterMs=${Math.round(retryAfterMs)}`;
  const text = Buffer.from(`${name}: ${word}: ${detail}`);
  return `${text.subarray(0, MAX_REASON_BYTES).toString('utf8')}${hint}`;
}

/** What a QUIC connection ended with, read by the edge. */
export interface QuicClose {
  /** Undefined when the peer vanished or spoke no code of ours. */
  readonly reason: CloseReason | undefined;
  /** The refusal reason, when the hub refused the connection. */
  readonly word: string | undefined;
  readonly detail: string;
}

/** @param code application error code, or 0x100 + TLS alert (RFC 9001 §4.8) when the handshake failed */
export function readQuicClose(code: number, text: string): QuicClose {
  const alert = refusalOfAlert(code);
  if (alert !== undefined)
    return {
      reason: undefined,
      word: alert,
      detail: `the hub refused the client certificate (TLS alert ${code - 0x100})`,
    };
  const refusal = /^\w+: ([a-z-]+): (.*)$/s.exec(text);
  return { reason: parseClose(code, text), word: refusal?.[1], detail: refusal?.[2] ?? text };
}

function parseObject(payload: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload));
  } catch {
    throw invalid('a control frame is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid('a control frame is not an object');
  return value as Record<string, unknown>;
}

function isText(value: unknown, min = 0): value is string {
  return typeof value === 'string' && value.length >= min && value.length <= 256;
}

function invalid(problem: string): SallyportError {
  return new SallyportError('MESSAGE_INVALID', { problem });
}
