import { isUtf8 } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import { SallyportError } from '../core/errors.ts';
import { type JsonLimits, JsonScanner } from './json-scan.ts';
import { scanInTurns } from './scan-in-turns.ts';

/**
 * A JSON value as its text in UTF-8, byte for byte as it came: numbers, key order and escapes stay what they
 * were. It is parsed when somebody asks for the value, once.
 */
export class Content {
  readonly #within: Buffer;
  readonly #from: number;
  readonly #to: number;
  #bytes: Buffer | undefined;
  #parsed: { readonly value: unknown } | undefined;

  /**
   * @param within holds valid JSON, from the first of the two places to the second: checked by a
   * {@link JsonScanner}, or written by `JSON.stringify`
   */
  constructor(within: Buffer, from = 0, to = within.length) {
    this.#within = within;
    this.#from = from;
    this.#to = to;
  }

  get bytes(): Buffer {
    this.#bytes ??= this.#within.subarray(this.#from, this.#to);
    return this.#bytes;
  }

  /** Bytes of memory this keeps from being freed, at least its own. */
  get heldBytes(): number {
    return this.#within.length;
  }

  /** A value that stands in this one, between two places of its bytes. */
  part({ from, to }: { readonly from: number; readonly to: number }): Content {
    return new Content(this.#within, this.#from + from, this.#from + to);
  }

  /** The JSON of a value of this program. @throws MESSAGE_INVALID for what JSON cannot express */
  static of(value: unknown): Content {
    if (value instanceof Content) return value;
    try {
      return new Content(Buffer.from(JSON.stringify(value) ?? 'null'));
    } catch (cause) {
      throw new SallyportError('MESSAGE_INVALID', { problem: 'its content is not JSON' }, cause);
    }
  }

  /** @throws MESSAGE_INVALID, CONTENT_TOO_DEEP, CONTENT_TOO_MANY_VALUES */
  static check(bytes: Uint8Array, limits?: JsonLimits): Content {
    assertUtf8(bytes);
    JsonScanner.ofValue(bytes, limits).scan();
    return new Content(ownBytes(bytes));
  }

  /** The same, with other work between, so that a large one holds nobody up. @throws as {@link check} */
  static async checkInTurns(bytes: Uint8Array, limits?: JsonLimits): Promise<Content> {
    assertUtf8(bytes);
    await scanInTurns(JsonScanner.ofValue(bytes, limits));
    return new Content(ownBytes(bytes));
  }

  /** Changes to it are seen by everybody who asks. */
  get value(): unknown {
    this.#parsed ??= { value: JSON.parse(this.bytes.toString()) };
    return this.#parsed.value;
  }

  /** Whether it is this short text; long content is not parsed for the answer. */
  is(text: string): boolean {
    return this.bytes.length <= 2 + 6 * text.length && this.value === text;
  }

  toJSON(): unknown {
    if (!collected) return this.value;
    collected.push(this.bytes);
    return PLACEHOLDER;
  }
}

/**
 * `JSON.stringify` in UTF-8, with every {@link Content} in it written byte for byte. @throws TypeError,
 * RangeError for what JSON cannot express
 */
export function exactJson(value: unknown): Buffer {
  const contents: Buffer[] = [];
  collected = contents;
  let text: string;
  try {
    text = JSON.stringify(value) ?? 'null';
  } finally {
    collected = undefined;
  }
  if (contents.length === 0) return Buffer.from(text);
  const between = text.split(`"${PLACEHOLDER}"`);
  return Buffer.concat(between.flatMap((part, at) => [Buffer.from(part), contents[at] ?? NOTHING]));
}

let collected: Buffer[] | undefined;
/** Nobody outside of this process can know it, so no text of a message is taken for it. */
const PLACEHOLDER = randomUUID();
const NOTHING = Buffer.alloc(0);

/** The bytes themselves, or a copy when they would keep a much larger network buffer alive. */
export function ownBytes(bytes: Uint8Array): Buffer {
  const { buffer, byteOffset, length } = bytes;
  if (buffer.byteLength > 2 * length + 1_024) return Buffer.from(bytes);
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(buffer as ArrayBuffer, byteOffset, length);
}

/**
 * The members of one JSON object, none of them parsed.
 * @throws MESSAGE_INVALID, also for a member that is there twice, CONTENT_TOO_DEEP, CONTENT_TOO_MANY_VALUES
 */
export function readMembers(bytes: Uint8Array, limits?: JsonLimits): Record<string, Content | undefined> {
  assertUtf8(bytes);
  const own = ownBytes(bytes);
  const members: Record<string, Content | undefined> = Object.create(null);
  const scanner = JsonScanner.ofObject(own, limits);
  scanner.scan();
  for (const { keyFrom, keyTo, from, to } of scanner.members) {
    const key: string = JSON.parse(own.toString('utf8', keyFrom, keyTo));
    if (key in members) throw new SallyportError('MESSAGE_INVALID', { problem: 'a field is there twice' });
    members[key] = new Content(own, from, to);
  }
  return members;
}

/**
 * The elements of one JSON array of at most 1,000, none of them parsed.
 * @throws MESSAGE_INVALID, CONTENT_TOO_DEEP, CONTENT_TOO_MANY_VALUES
 */
export function readElements(list: Content): Content[] {
  const scanner = JsonScanner.ofArray(list.bytes);
  scanner.scan();
  return scanner.members.map((range) => list.part(range));
}

/** At once for the largest message: it takes Node about 4 ms. @throws MESSAGE_INVALID */
export function assertUtf8(bytes: Uint8Array): void {
  if (!isUtf8(bytes)) throw new SallyportError('MESSAGE_INVALID', { problem: 'it is not UTF-8' });
}
