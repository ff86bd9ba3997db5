import type { UpstreamFrame } from '../contracts/upstream-relay.ts';
import { checkMessage, encodeJson } from '../protocol/codec-json.ts';
import type { Message, MessageHeader, MessageRoute } from '../protocol/message.ts';

const CONTENT = ',"content":';
const KNOWN = {
  header: new Set(['msg_id', 'parent_msg_id', 'timestamp', 'resourceversion', 'sync', 'type']),
  route: new Set(['source', 'destination', 'group', 'operation', 'resource']),
} as const;

/**
 * A message of CloudCore. Go writes header, route and content in this order, so what is before the content is
 * enough; anything else is parsed whole.
 * @throws MESSAGE_INVALID, SyntaxError
 */
export function readFrame(bytes: Buffer): UpstreamFrame {
  const message = () => checkMessage(JSON.parse(bytes.toString()));
  const { header, route } = readHead(bytes) ?? message();
  return { header, route, bytes, message };
}

/** The first `,"content":` is no text within a string: quotes are escaped there. */
function readHead(bytes: Buffer): { header: MessageHeader; route: MessageRoute } | undefined {
  const at = bytes.indexOf(CONTENT);
  if (at === -1) return undefined;
  try {
    return checkMessage(JSON.parse(`${bytes.toString('utf8', 0, at)}}`));
  } catch {
    return undefined;
  }
}

/**
 * The bytes to pass on for a message of an edge: its own when they can only be read in one way, else ours.
 *
 * The gateway decides by what it read, so CloudCore must not read something else from the same bytes. Go's
 * decoder takes keys in any case, and puts two objects under one key together, where `JSON.parse` takes the
 * last. So header and route have to be written as we would write them, before the content, with known keys
 * only; every EdgeCore writes them so.
 */
export function bytesToPassOn(message: Message, bytes: Buffer | undefined): Buffer {
  if (bytes !== undefined && isPlain(message, bytes)) return bytes;
  const { header, route, content } = message;
  const plain = { header: onlyKnown('header', header), route: onlyKnown('route', route), content };
  return Buffer.from(encodeJson(plain as Message));
}

function isPlain(message: Message, bytes: Buffer): boolean {
  if (Object.keys(message).length !== 3 || !('content' in message)) return false;
  const { header, route } = message;
  if (!hasOnlyKnown('header', header) || !hasOnlyKnown('route', route)) return false;
  const start = `{"header":${JSON.stringify(header)},"route":${JSON.stringify(route)}${CONTENT}`;
  const length = Buffer.byteLength(start);
  return bytes.length > length && bytes.toString('utf8', 0, length) === start;
}

function hasOnlyKnown(part: keyof typeof KNOWN, value: object): boolean {
  for (const key in value) if (!KNOWN[part].has(key)) return false;
  return true;
}

function onlyKnown(part: keyof typeof KNOWN, value: object): object {
  return Object.fromEntries(Object.entries(value).filter(([key]) => KNOWN[part].has(key)));
}
