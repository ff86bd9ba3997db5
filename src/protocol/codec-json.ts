import { SallyportError } from '../core/errors.ts';
import { assertUtf8, Content, ownBytes } from './content.ts';
import { type JsonLimits, JsonScanner, type MemberRange } from './json-scan.ts';
import { Message, type MessageHeader, type MessageRoute } from './message.ts';
import { scanInTurns } from './scan-in-turns.ts';

/**
 * The WebSocket form: one JSON object a text frame, a newline at its end as Go's `json.Encoder` writes. The
 * content is copied byte for byte.
 */
export function encodeJson({ header, route, body }: Message): Buffer {
  const head = `{"header":${JSON.stringify(header)},"route":${JSON.stringify(route)},"content":`;
  const content = body.bytes;
  const headBytes = Buffer.byteLength(head);
  const frame = Buffer.allocUnsafe(headBytes + content.length + 2);
  frame.write(head);
  frame.set(content, headBytes);
  frame[frame.length - 2] = CLOSE_OBJECT;
  frame[frame.length - 1] = NEWLINE;
  return frame;
}

/**
 * Checks one message and reads its header and route; nothing is built from its content. Unknown fields of
 * header and route are kept, so that newer peers lose nothing.
 * @throws MESSAGE_INVALID with what is wrong, CONTENT_TOO_DEEP, CONTENT_TOO_MANY_VALUES; never anything else
 */
export function decodeJson(bytes: Uint8Array, limits?: JsonLimits): Message {
  const scanner = scannerOf(bytes, limits);
  scanner.scan();
  return messageOf(bytes, scanner);
}

/**
 * The same, with other work between, so that a large message holds nobody up.
 * @throws as {@link decodeJson}
 */
export async function decodeJsonInTurns(bytes: Uint8Array, limits?: JsonLimits): Promise<Message> {
  const scanner = scannerOf(bytes, limits);
  await scanInTurns(scanner);
  return messageOf(bytes, scanner);
}

function scannerOf(bytes: Uint8Array, limits: JsonLimits | undefined): JsonScanner {
  assertUtf8(bytes);
  return JsonScanner.ofObject(bytes, limits);
}

function messageOf(bytes: Uint8Array, { members }: JsonScanner): Message {
  const ranges = findFields(bytes, members);
  const frame = ownBytes(bytes);
  const header = readFields<MessageHeader>(frame, 'header', ranges.header);
  const route = readFields<MessageRoute>(frame, 'route', ranges.route);
  checkHeader(header);
  checkRoute(route);
  const body = ranges.content ? new Content(frame, ranges.content.from, ranges.content.to) : NULL;
  return new Message(header, route, body, frame);
}

/**
 * What EdgeCore sends when it stops: a message of nothing but zero values, as Go encodes it. It is a goodbye
 * and no message (recorded with EdgeCore 1.15 and 1.23).
 */
const GOODBYE = Buffer.from('{"header":{"msg_id":"","timestamp":0},"route":{},"content":null}');

export function isGoodbye(bytes: Uint8Array): boolean {
  if (bytes.length < GOODBYE.length || bytes.length > GOODBYE.length + 1) return false;
  const isWhole = bytes.length === GOODBYE.length || bytes.at(-1) === NEWLINE;
  return isWhole && GOODBYE.equals(bytes.subarray(0, GOODBYE.length));
}

type Field = 'header' | 'route' | 'content';
const FIELDS: readonly Field[] = ['header', 'route', 'content'];
/** Each with its quotes, by its length. */
const KEYS = new Map(FIELDS.map((field) => [field.length + 2, { field, key: Buffer.from(`"${field}"`) }]));

function findFields(
  bytes: Uint8Array,
  members: readonly MemberRange[],
): Readonly<Record<Field, MemberRange | undefined>> {
  const found: Record<Field, MemberRange | undefined> = {
    header: undefined,
    route: undefined,
    content: undefined,
  };
  for (const member of members) {
    const field = plainField(bytes, member) ?? otherField(bytes, member);
    if (field === undefined) continue;
    if (found[field]) throw invalid(`${field} is there twice`);
    found[field] = member;
  }
  return found;
}

function plainField(bytes: Uint8Array, { keyFrom, keyTo }: MemberRange): Field | undefined {
  const known = KEYS.get(keyTo - keyFrom);
  if (!known) return undefined;
  for (let at = 1; at < known.key.length; at++) if (bytes[keyFrom + at] !== known.key[at]) return undefined;
  return known.field;
}

/** A key that is not ours, or ours with escapes. @throws MESSAGE_INVALID for a variant of ours */
function otherField(bytes: Uint8Array, { keyFrom, keyTo }: MemberRange): Field | undefined {
  if (keyTo - keyFrom > MAX_NAME) return undefined;
  const key = JSON.parse(Buffer.from(bytes.subarray(keyFrom, keyTo)).toString());
  if (!(FIELDS as readonly string[]).includes(key)) return refuseVariant(key, FIELDS);
  return key;
}

/** @throws MESSAGE_INVALID for what is no object, too large, or read differently by other parsers */
function readFields<T extends MessageHeader | MessageRoute>(
  frame: Buffer,
  name: 'header' | 'route',
  range: MemberRange | undefined,
): T {
  if (!range || frame[range.from] !== OPEN_OBJECT) throw invalid(`${name} is missing`);
  if (range.to - range.from > MAX_FIELDS_BYTES) throw invalid(`${name} is too large`);
  const fields = JSON.parse(frame.toString('utf8', range.from, range.to)) as T;
  let count = 0;
  for (const key in fields) {
    count++;
    if (!KNOWN.has(key)) refuseVariant(key, KNOWN_LIST);
  }
  if (count !== range.fields) throw invalid(`${name} has a field twice`);
  return fields;
}

/**
 * Go's parser takes `Route` for `route`, and `ſource` for `source`: what we judge by must be what they read.
 */
function refuseVariant(key: string, names: readonly string[]): undefined {
  if (key.length <= MAX_NAME && names.includes(key.normalize('NFKC').toLowerCase()))
    throw invalid('a field is there under a variant of its name');
}

/** Checks the parts Sallyport reads. @throws MESSAGE_INVALID */
export function checkMessage({ header, route }: Message): void {
  checkHeader(header);
  checkRoute(route);
}

export function checkHeader(header: MessageHeader): void {
  const { msg_id, parent_msg_id, timestamp, resourceversion, sync, type } = header;
  if (typeof msg_id !== 'string' || msg_id === '' || msg_id.length > MAX_ID)
    throw invalid('header.msg_id is not an id');
  if (!isOptionalString(parent_msg_id, MAX_ID)) throw invalid('header.parent_msg_id is not an id');
  if (timestamp !== undefined && !Number.isSafeInteger(timestamp))
    throw invalid('header.timestamp is not an integer');
  if (!isOptionalString(resourceversion, MAX_ID)) throw invalid('header.resourceversion is not a string');
  if (sync !== undefined && typeof sync !== 'boolean') throw invalid('header.sync is not a boolean');
  if (!isOptionalString(type, MAX_ID)) throw invalid('header.type is not a string');
}

export function checkRoute(route: MessageRoute): void {
  const { source, destination, group, operation, resource } = route;
  if (!isOptionalString(source, MAX_NAME)) throw invalid('route.source is not a string');
  if (!isOptionalString(destination, MAX_NAME)) throw invalid('route.destination is not a string');
  if (!isOptionalString(group, MAX_NAME)) throw invalid('route.group is not a string');
  if (!isOptionalString(operation, MAX_NAME)) throw invalid('route.operation is not a string');
  if (!isOptionalString(resource, MAX_RESOURCE)) throw invalid('route.resource is not a string');
}

const KNOWN_LIST = [
  ...['msg_id', 'parent_msg_id', 'timestamp', 'resourceversion', 'sync', 'type'],
  ...['source', 'destination', 'group', 'operation', 'resource'],
];
const KNOWN = new Set(KNOWN_LIST);

/** Bounds on what is copied into logs, indexes and subjects, characters. */
const MAX_ID = 256;
const MAX_NAME = 256;
const MAX_RESOURCE = 4096;
/** Header and route alone are parsed. Every known field at its bound, each character escaped, needs less. */
const MAX_FIELDS_BYTES = 64 * 1024;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const NEWLINE = 0x0a;
const NULL = new Content(Buffer.from('null'));

function isOptionalString(value: unknown, maxLength: number): boolean {
  return value === undefined || (typeof value === 'string' && value.length <= maxLength);
}

function invalid(problem: string): SallyportError {
  return new SallyportError('MESSAGE_INVALID', { problem });
}
