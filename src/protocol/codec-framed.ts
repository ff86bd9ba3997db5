import protobuf from 'protobufjs/minimal.js';
import { isSallyportError, SallyportError } from '../core/errors.ts';
import { checkHeader, checkRoute } from './codec-json.ts';
import { Content } from './content.ts';
import type { JsonLimits } from './json-scan.ts';
import { Message, type MessageHeader, type MessageRoute } from './message.ts';
import { SHARE_BYTES } from './scan-in-turns.ts';

/**
 * The framed form, for QUIC and WebTransport: viaduct's 10-byte package header, then the payload (KubeEdge
 * `viaduct/pkg/translator` and `viaduct/pkg/packer`). Header: version u32 (major<<24 | minor<<16 | fix<<8),
 * package type u8, flags u8 (0x80 compressed), payload length u32; big-endian.
 */
export const FRAME_HEADER_BYTES = 10;
/** 1.1.1, the only version that was ever written. */
const FRAME_VERSION = 0x01_01_01_00;
const FLAG_COMPRESSED = 0x80;

/**
 * `message` is viaduct's; the others are Sallyport's and carry one JSON object. docs/protocol-quic.md
 * describes each.
 */
export const FRAME_TYPES = {
  message: 0x01,
  hello: 0x40,
  welcome: 0x41,
  ping: 0x42,
  pong: 0x43,
} as const;
export type FrameType = (typeof FRAME_TYPES)[keyof typeof FRAME_TYPES];

export interface Frame {
  /** As on the wire; a reader skips types it does not know. */
  readonly type: number;
  readonly payload: Uint8Array;
}

export function encodeFrame(type: FrameType, payload: Uint8Array): Uint8Array {
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payload.length);
  frame.writeUInt32BE(FRAME_VERSION, 0);
  frame[4] = type;
  frame[5] = 0;
  frame.writeUInt32BE(payload.length, 6);
  frame.set(payload, FRAME_HEADER_BYTES);
  return frame;
}

export interface FrameDecoderOptions {
  /** Largest payload of a message, bytes. */
  readonly maxMessageBytes: number;
}

/** Control frames are small; nothing larger is read before the peer is authenticated, or after. */
export const MAX_CONTROL_BYTES = 16 * 1024;

/**
 * Cuts a stream of bytes into frames. Keeps at most one incomplete frame, and refuses a length over the limit
 * when it sees the header, before anything of the payload is kept. After an error it refuses everything.
 */
export class FrameDecoder {
  readonly #options: FrameDecoderOptions;
  readonly #header = Buffer.allocUnsafe(FRAME_HEADER_BYTES);
  #headerBytes = 0;
  #expected = 0;
  #parts: Uint8Array[] = [];
  #partBytes = 0;
  #failure: SallyportError | undefined;

  constructor(options: FrameDecoderOptions) {
    this.#options = options;
  }

  /** Bytes kept of a frame that is not complete. */
  get bufferedBytes(): number {
    return this.#headerBytes + this.#partBytes;
  }

  /**
   * Takes the next bytes and calls `onFrame` for each frame they complete. The payload may share memory with
   * `chunk`.
   * @throws MESSAGE_TOO_LARGE, MESSAGE_INVALID; frames before the fault have been delivered
   */
  push(chunk: Uint8Array, onFrame: (frame: Frame) => void): void {
    if (this.#failure) throw this.#failure;
    let rest = chunk;
    for (;;) {
      if (this.#headerBytes < FRAME_HEADER_BYTES) {
        const taken = rest.subarray(0, FRAME_HEADER_BYTES - this.#headerBytes);
        this.#header.set(taken, this.#headerBytes);
        this.#headerBytes += taken.length;
        rest = rest.subarray(taken.length);
        if (this.#headerBytes < FRAME_HEADER_BYTES) return;
        this.#readHeader();
      }
      const missing = this.#expected - this.#partBytes;
      const taken = rest.subarray(0, missing);
      rest = rest.subarray(taken.length);
      if (taken.length < missing) {
        // Copied when small, so that a few bytes do not keep a large network buffer alive.
        if (taken.length > 0) this.#parts.push(taken.length < 4096 ? Uint8Array.from(taken) : taken);
        this.#partBytes += taken.length;
        return;
      }
      const payload = this.#parts.length === 0 ? taken : Buffer.concat([...this.#parts, taken]);
      this.#parts = [];
      this.#partBytes = 0;
      this.#headerBytes = 0;
      onFrame({ type: this.#header[4]!, payload });
      if (rest.length === 0) return;
    }
  }

  #readHeader(): void {
    const length = this.#header.readUInt32BE(6);
    if (this.#header[0] !== FRAME_VERSION >>> 24) this.#fail('the version of the frame is not 1');
    if (this.#header[5]! & FLAG_COMPRESSED) this.#fail('compressed frames are not understood');
    const limitBytes =
      this.#header[4] === FRAME_TYPES.message ? this.#options.maxMessageBytes : MAX_CONTROL_BYTES;
    if (length > limitBytes) {
      this.#failure = new SallyportError('MESSAGE_TOO_LARGE', { limitBytes });
      throw this.#failure;
    }
    this.#expected = length;
  }

  #fail(problem: string): never {
    this.#failure = new SallyportError('MESSAGE_INVALID', { problem });
    throw this.#failure;
  }
}

/**
 * One whole frame of viaduct's protobuf `message.Message`; `content` travels as UTF-8 JSON, byte for byte.
 */
export function encodeFramed(message: Message): Uint8Array {
  const { header, route, body } = message;
  const writer = protobuf.Writer.create();
  const head = writer.uint32(field(1, BYTES)).fork();
  text(head, 1, header.msg_id);
  text(head, 2, header.parent_msg_id);
  head.uint32(field(3, VARINT)).sint64(header.timestamp);
  if (header.sync) head.uint32(field(4, VARINT)).bool(true);
  text(head, 5, header.type);
  text(head, 6, header.resourceversion);
  head.ldelim();
  const router = writer.uint32(field(2, BYTES)).fork();
  text(router, 1, route.source);
  text(router, 2, route.group);
  text(router, 3, route.operation);
  text(router, 4, route.resource);
  text(router, 5, route.destination);
  router.ldelim();
  writer.uint32(field(3, BYTES)).bytes(body.bytes);
  return encodeFrame(FRAME_TYPES.message, writer.finish());
}

/**
 * Decodes and checks the payload of a `message` frame. Unknown fields are skipped. Nothing is built from
 * content that is JSON; a short one that is not becomes a string.
 * @throws MESSAGE_INVALID, CONTENT_TOO_DEEP, CONTENT_TOO_MANY_VALUES; never anything else
 */
export function decodeFramed(payload: Uint8Array, limits?: JsonLimits): Message {
  const { header, route, content } = readPackage(payload);
  try {
    return new Message(header, route, Content.check(content, limits));
  } catch (error) {
    return new Message(header, route, asText(content, error));
  }
}

/**
 * The same, with other work between, so that a large message holds nobody up.
 * @throws as {@link decodeFramed}
 */
export async function decodeFramedInTurns(payload: Uint8Array, limits?: JsonLimits): Promise<Message> {
  const { header, route, content } = readPackage(payload);
  const checked = await Content.checkInTurns(content, limits).catch((error) => asText(content, error));
  return new Message(header, route, checked);
}

/** viaduct's `message.Message`, its content as it came. */
interface Package {
  readonly header: MessageHeader;
  readonly route: MessageRoute;
  readonly content: Uint8Array;
}

function readPackage(payload: Uint8Array): Package {
  try {
    return readFields(protobuf.Reader.create(payload));
  } catch (cause) {
    if (cause instanceof SallyportError) throw cause;
    throw new SallyportError('MESSAGE_INVALID', { problem: 'it is not a protobuf message' }, cause);
  }
}

function readFields(reader: protobuf.Reader): Package {
  let header: Mutable<Partial<MessageHeader>> | undefined;
  let route: Mutable<MessageRoute> | undefined;
  let content: Uint8Array = new Uint8Array();
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag === field(1, BYTES)) header = readHeader(reader, reader.uint32() + reader.pos);
    else if (tag === field(2, BYTES)) route = readRoute(reader, reader.uint32() + reader.pos);
    else if (tag === field(3, BYTES)) content = reader.bytes();
    else reader.skipType(tag & 7);
  }
  if (!header) throw new SallyportError('MESSAGE_INVALID', { problem: 'header is missing' });
  const whole = header as MessageHeader;
  checkHeader(whole);
  checkRoute(route ?? {});
  return { header: whole, route: route ?? {}, content };
}

function readHeader(reader: protobuf.Reader, end: number): Mutable<Partial<MessageHeader>> {
  const header: Mutable<Partial<MessageHeader>> = { timestamp: 0 };
  while (reader.pos < inside(reader, end)) {
    const tag = reader.uint32();
    if (tag === field(1, BYTES)) header.msg_id = reader.string();
    else if (tag === field(2, BYTES)) set(header, 'parent_msg_id', reader.string());
    else if (tag === field(3, VARINT)) header.timestamp = Number(reader.sint64());
    else if (tag === field(4, VARINT)) header.sync = reader.bool();
    else if (tag === field(5, BYTES)) set(header, 'type', reader.string());
    else if (tag === field(6, BYTES)) set(header, 'resourceversion', reader.string());
    else reader.skipType(tag & 7);
  }
  if (header.sync === false) delete header.sync;
  return header;
}

function readRoute(reader: protobuf.Reader, end: number): Mutable<MessageRoute> {
  const route: Mutable<MessageRoute> = {};
  while (reader.pos < inside(reader, end)) {
    const tag = reader.uint32();
    if (tag === field(1, BYTES)) set(route, 'source', reader.string());
    else if (tag === field(2, BYTES)) set(route, 'group', reader.string());
    else if (tag === field(3, BYTES)) set(route, 'operation', reader.string());
    else if (tag === field(4, BYTES)) set(route, 'resource', reader.string());
    else if (tag === field(5, BYTES)) set(route, 'destination', reader.string());
    else reader.skipType(tag & 7);
  }
  return route;
}

/** A nested length may not reach beyond the message: protobufjs leaves that to its generated code. */
function inside(reader: protobuf.Reader, end: number): number {
  if (end > reader.len || reader.pos > end) throw new RangeError('a nested length is wrong');
  return end;
}

/** What is no JSON is a text; written as JSON it may be six times as long, so it has to be short. */
function asText(bytes: Uint8Array, error: unknown): Content {
  if (!isSallyportError(error, 'MESSAGE_INVALID') || bytes.length > SHARE_BYTES) throw error;
  return Content.of(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
const VARINT = 0;
const BYTES = 2;

function field(number: number, wireType: number): number {
  return (number << 3) | wireType;
}

/** proto3 omits empty strings, as our messages omit empty fields. */
function text(writer: protobuf.Writer, number: number, value: string | undefined): void {
  if (value) writer.uint32(field(number, BYTES)).string(value);
}

function set<T extends object, K extends keyof T>(target: T, name: K, value: T[K] & string): void {
  if (value !== '') target[name] = value;
}
