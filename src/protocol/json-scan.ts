import { SallyportError } from '../core/errors.ts';
import {
  COLON,
  COMMA,
  notJson,
  OPEN_ARRAY,
  OPEN_OBJECT,
  QUOTE,
  skipScalar,
  skipSpace,
  skipText,
  TO_CLOSE,
} from './json-tokens.ts';

/** What a JSON text may be at most; checked without building anything from it. */
export interface JsonLimits {
  /** How deep arrays and objects may nest. */
  readonly maxMessageDepth: number;
  /** How many values there may be: objects, arrays, strings, numbers, literals. */
  readonly maxMessageValues: number;
}

/**
 * Depth: `JSON.stringify` overflows the stack from about 5,000 levels on (Node 24). Values: parsed, an empty
 * object takes about 60 bytes, so that a program that parses the largest message needs about 100 MB.
 */
export const DEFAULT_JSON_LIMITS: JsonLimits = { maxMessageDepth: 1_000, maxMessageValues: 1_000_000 };

/** Where one member of an object stands: key with its quotes, and value. Elements of an array have no key. */
export interface MemberRange {
  readonly keyFrom: number;
  readonly keyTo: number;
  readonly from: number;
  readonly to: number;
  /** Fields of the value, when it is an object; one that is there twice counts twice. */
  readonly fields: number;
}

/** An object of ours has few fields, a list of messages is short; a list of millions is not kept. */
const MAX_MEMBERS = { [OPEN_OBJECT]: 64, [OPEN_ARRAY]: 1_000 };

/** What comes next, in the order in which things come. */
const OPENED = 0;
const KEY = 1;
const KEY_TEXT = 2;
const KEY_ENDED = 3;
const VALUE = 4;
const VALUE_TEXT = 5;
const VALUE_ENDED = 6;

/**
 * One pass over a JSON text in UTF-8, in linear time, without recursion, in as many pieces as the caller
 * likes. JSON.parse takes what it has accepted.
 */
export class JsonScanner {
  /** Where the members of an {@link JsonScanner.ofObject object} or an array stand. */
  readonly members: MemberRange[] = [];
  readonly #bytes: Uint8Array;
  readonly #limits: JsonLimits;
  /** What the text has to be, when its members are wanted. */
  readonly #wanted: typeof OPEN_OBJECT | typeof OPEN_ARRAY | undefined;
  #at = 0;
  #next = VALUE;
  #values = 0;
  #depth = 0;
  /** What each open level began with, `{` or `[`. */
  readonly #levels: number[] = [];
  /** The member that is being read. */
  #keyFrom = 0;
  #keyTo = 0;
  #from = 0;
  #fields = 0;

  private constructor(
    bytes: Uint8Array,
    limits: JsonLimits,
    wanted?: typeof OPEN_OBJECT | typeof OPEN_ARRAY,
  ) {
    this.#bytes = bytes;
    this.#limits = limits;
    this.#wanted = wanted;
  }

  /** For a text that is any value. */
  static ofValue(bytes: Uint8Array, limits: JsonLimits = DEFAULT_JSON_LIMITS): JsonScanner {
    return new JsonScanner(bytes, limits);
  }

  /** For a text that has to be an object, and whose members are wanted. */
  static ofObject(bytes: Uint8Array, limits: JsonLimits = DEFAULT_JSON_LIMITS): JsonScanner {
    return new JsonScanner(bytes, limits, OPEN_OBJECT);
  }

  /** For a text that has to be an array of at most 1,000 elements, which are wanted. */
  static ofArray(bytes: Uint8Array, limits: JsonLimits = DEFAULT_JSON_LIMITS): JsonScanner {
    return new JsonScanner(bytes, limits, OPEN_ARRAY);
  }

  /**
   * Goes on for `share` bytes, or little more; to the end when it is not given.
   * @returns whether the end is reached: the whole text is one value
   * @throws MESSAGE_INVALID, CONTENT_TOO_DEEP, CONTENT_TOO_MANY_VALUES
   */
  scan(share = this.#bytes.length): boolean {
    const bytes = this.#bytes;
    const levels = this.#levels;
    const { maxMessageValues, maxMessageDepth } = this.#limits;
    const stop = Math.min(bytes.length, this.#at + share);
    let at = this.#at;
    let next = this.#next;
    let depth = this.#depth;
    while (at < stop) {
      if (next === OPENED) {
        at = skipSpace(bytes, at, stop);
        if (at >= stop) break;
        const level = levels[depth - 1]!;
        if (bytes[at] !== level + TO_CLOSE) next = level === OPEN_OBJECT ? KEY : VALUE;
        else {
          at++;
          if (--depth === 1) this.#memberEnds(at);
          next = VALUE_ENDED;
        }
      }
      if (next === KEY) {
        at = skipSpace(bytes, at, stop);
        if (at >= stop) break;
        if (bytes[at] !== QUOTE) throw notJson();
        if (depth <= 2) this.#keyBegins(depth, at);
        at++;
        next = KEY_TEXT;
      }
      if (next === KEY_TEXT) {
        at = skipText(bytes, at, stop);
        if (at >= stop) break;
        at++;
        if (depth === 1) this.#keyTo = at;
        next = KEY_ENDED;
      }
      if (next === KEY_ENDED) {
        at = skipSpace(bytes, at, stop);
        if (at >= stop) break;
        if (bytes[at] !== COLON) throw notJson();
        at++;
        next = VALUE;
      }
      if (next === VALUE) {
        at = skipSpace(bytes, at, stop);
        if (at >= stop) break;
        if (++this.#values > maxMessageValues)
          throw new SallyportError('CONTENT_TOO_MANY_VALUES', { limit: maxMessageValues });
        const char = bytes[at]!;
        if (depth <= 1) this.#memberBegins(depth, char, at);
        if (char === QUOTE) {
          at++;
          next = VALUE_TEXT;
        } else if (char === OPEN_OBJECT || char === OPEN_ARRAY) {
          if (depth === maxMessageDepth)
            throw new SallyportError('CONTENT_TOO_DEEP', { limit: maxMessageDepth });
          levels[depth++] = char;
          at++;
          next = OPENED;
          continue;
        } else {
          at = skipScalar(bytes, at);
          if (depth === 1) this.#memberEnds(at);
          next = VALUE_ENDED;
        }
      }
      if (next === VALUE_TEXT) {
        at = skipText(bytes, at, stop);
        if (at >= stop) break;
        at++;
        if (depth === 1) this.#memberEnds(at);
        next = VALUE_ENDED;
      }
      at = skipSpace(bytes, at, stop);
      if (at >= stop) break;
      if (depth === 0) throw notJson();
      const level = levels[depth - 1]!;
      const char = bytes[at]!;
      at++;
      if (char === COMMA) next = level === OPEN_OBJECT ? KEY : VALUE;
      else if (char !== level + TO_CLOSE) throw notJson();
      else if (--depth === 1) this.#memberEnds(at);
    }
    this.#at = at;
    this.#next = next;
    this.#depth = depth;
    if (at < bytes.length) return false;
    if (next !== VALUE_ENDED || depth > 0) throw notJson();
    return true;
  }

  #memberBegins(depth: number, char: number, at: number): void {
    if (depth === 1) this.#from = at;
    else if (this.#wanted !== undefined && char !== this.#wanted)
      throw notJson(`it is not an ${this.#wanted === OPEN_OBJECT ? 'object' : 'array'}`);
  }

  #memberEnds(to: number): void {
    if (this.#wanted === undefined) return;
    if (this.members.length === MAX_MEMBERS[this.#wanted]) throw notJson('it has too many members');
    this.members.push({
      keyFrom: this.#keyFrom,
      keyTo: this.#keyTo,
      from: this.#from,
      to,
      fields: this.#fields,
    });
  }

  #keyBegins(depth: number, at: number): void {
    if (depth === 2) this.#fields++;
    else {
      this.#keyFrom = at;
      this.#fields = 0;
    }
  }
}
