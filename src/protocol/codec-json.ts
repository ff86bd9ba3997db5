import { SallyportError } from '../core/errors.ts';
import type { Message } from './message.ts';

/**
 * The WebSocket form: one JSON object a text frame, a newline at its end as Go's `json.Encoder` writes.
 * Content that JSON cannot express becomes null.
 */
export function encodeJson(message: Message): string {
  return `${JSON.stringify(message)}\n`;
}

/**
 * Parses and checks one message. Unknown fields are kept, so that newer peers lose nothing.
 * @throws MESSAGE_INVALID with what is wrong; never anything else
 */
export function decodeJson(text: string): Message {
  if (text.length > MAX_DEPTH && nestsDeeper(text, MAX_DEPTH)) throw invalid('it nests too deeply');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid('it is not JSON');
  }
  return checkMessage(value);
}

/**
 * Checks the parts Sallyport reads. Go sends `null` for absent objects of pointer type; those are refused
 * where we need them.
 */
export function checkMessage(value: unknown): Message {
  if (!isObject(value)) throw invalid('it is not an object');
  const { header, route } = value as { header?: unknown; route?: unknown };
  if (!isObject(header)) throw invalid('header is missing');
  if (!isObject(route)) throw invalid('route is missing');
  const { msg_id, parent_msg_id, timestamp, resourceversion, sync, type } = header as Record<string, unknown>;
  if (typeof msg_id !== 'string' || msg_id === '' || msg_id.length > MAX_ID)
    throw invalid('header.msg_id is not an id');
  if (!isOptionalString(parent_msg_id, MAX_ID)) throw invalid('header.parent_msg_id is not an id');
  if (timestamp !== undefined && !Number.isSafeInteger(timestamp))
    throw invalid('header.timestamp is not an integer');
  if (!isOptionalString(resourceversion, MAX_ID)) throw invalid('header.resourceversion is not a string');
  if (sync !== undefined && typeof sync !== 'boolean') throw invalid('header.sync is not a boolean');
  if (!isOptionalString(type, MAX_ID)) throw invalid('header.type is not a string');
  const { source, destination, group, operation, resource } = route as Record<string, unknown>;
  if (!isOptionalString(source, MAX_NAME)) throw invalid('route.source is not a string');
  if (!isOptionalString(destination, MAX_NAME)) throw invalid('route.destination is not a string');
  if (!isOptionalString(group, MAX_NAME)) throw invalid('route.group is not a string');
  if (!isOptionalString(operation, MAX_NAME)) throw invalid('route.operation is not a string');
  if (!isOptionalString(resource, MAX_RESOURCE)) throw invalid('route.resource is not a string');
  return value as unknown as Message;
}

/** Bounds on what is copied into logs, indexes and subjects, characters. */
const MAX_ID = 256;
const MAX_NAME = 256;
const MAX_RESOURCE = 4096;

/**
 * `JSON.parse` takes any depth, but `JSON.stringify` overflows the stack from about 5,000 levels on (Node
 * 24): what is let in here must be possible to send on.
 */
const MAX_DEPTH = 1_000;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/**
 * Whether brackets outside of strings nest deeper than `limit`. Text that is no JSON may be misjudged; it is
 * refused anyway.
 */
function nestsDeeper(text: string, limit: number): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (char === QUOTE) {
      for (at++; at < text.length && text.charCodeAt(at) !== QUOTE; at++)
        if (text.charCodeAt(at) === BACKSLASH) at++;
    } else if (char === OPEN_ARRAY || char === OPEN_OBJECT) {
      if (++depth > limit) return true;
    } else if (char === CLOSE_ARRAY || char === CLOSE_OBJECT) depth--;
  }
  return false;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isOptionalString(value: unknown, maxLength: number): boolean {
  return value === undefined || (typeof value === 'string' && value.length <= maxLength);
}

function invalid(problem: string): SallyportError {
  return new SallyportError('MESSAGE_INVALID', { problem });
}
