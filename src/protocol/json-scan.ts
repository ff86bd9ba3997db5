import { SallyportError } from '../core/errors.ts';

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

/** Where one member of an object stands: key with its quotes, and value. */
export interface MemberRange {
  readonly keyFrom: number;
  readonly keyTo: number;
  readonly from: number;
  readonly to: number;
  /** Fields of the value, when it is an object; one that is there twice counts twice. */
  readonly fields: number;
}

/** An object of ours has few fields; a list of millions is not kept. */
const MAX_MEMBERS = 64;
/** Longest text of a number. A float64 needs 24 characters, an int64 20; some parsers take quadratic time. */
const MAX_NUMBER = 1_024;

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
  /** Where the members of an {@link JsonScanner.ofObject object} stand. */
  readonly members: MemberRange[] = [];
  readonly #bytes: Uint8Array;
  readonly #limits: JsonLimits;
  readonly #isObject: boolean;
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

  private constructor(bytes: Uint8Array, limits: JsonLimits, isObject: boolean) {
    this.#bytes = bytes;
    this.#limits = limits;
    this.#isObject = isObject;
  }

  /** For a text that is any value. */
  static ofValue(bytes: Uint8Array, limits: JsonLimits = DEFAULT_JSON_LIMITS): JsonScanner {
    return new JsonScanner(bytes, limits, false);
  }

  /** For a text that has to be an object, and whose members are wanted. */
  static ofObject(bytes: Uint8Array, limits: JsonLimits = DEFAULT_JSON_LIMITS): JsonScanner {
    return new JsonScanner(bytes, limits, true);
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
        if (bytes[at] !== QUOTE) throw invalid(NOT_JSON);
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
        if (bytes[at] !== COLON) throw invalid(NOT_JSON);
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
      if (depth === 0) throw invalid(NOT_JSON);
      const level = levels[depth - 1]!;
      const char = bytes[at]!;
      at++;
      if (char === COMMA) next = level === OPEN_OBJECT ? KEY : VALUE;
      else if (char !== level + TO_CLOSE) throw invalid(NOT_JSON);
      else if (--depth === 1) this.#memberEnds(at);
    }
    this.#at = at;
    this.#next = next;
    this.#depth = depth;
    if (at < bytes.length) return false;
    if (next !== VALUE_ENDED || depth > 0) throw invalid(NOT_JSON);
    return true;
  }

  #memberBegins(depth: number, char: number, at: number): void {
    if (depth === 1) this.#from = at;
    else if (this.#isObject && char !== OPEN_OBJECT) throw invalid('it is not an object');
  }

  #memberEnds(to: number): void {
    if (!this.#isObject) return;
    if (this.members.length === MAX_MEMBERS) throw invalid('it has too many fields');
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

/**
 * Bytes scanned in one turn of the event loop: about a millisecond of work. All who scan take turns, so that
 * many large messages hold others up no longer than one.
 */
export const SHARE_BYTES = 256 * 1024;

/** Scans to the end, a share at a time, with other work between. @throws as {@link JsonScanner.scan} */
export async function scanInTurns(scanner: JsonScanner): Promise<void> {
  while (!scanner.scan(SHARE_BYTES)) await nextTurn();
}

const waiting: (() => void)[] = [];

/** Resolves in a turn of the event loop in which nobody else is resolved. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    if (waiting.push(resolve) === 1) setImmediate(callNext);
  });
}

function callNext(): void {
  waiting.shift()!();
  if (waiting.length > 0) setImmediate(callNext);
}

function skipSpace(bytes: Uint8Array, from: number, stop: number): number {
  let at = from;
  while (at < stop) {
    const char = bytes[at]!;
    if (char > SPACE) break;
    if (char !== SPACE && char !== NEWLINE && char !== RETURN && char !== TAB) break;
    at++;
  }
  return at;
}

/** @returns the place of the quote that ends the text, or the first that is not read, at `stop` or behind */
function skipText(bytes: Uint8Array, from: number, stop: number): number {
  let at = from;
  while (at < stop) {
    const char = bytes[at]!;
    if (char === QUOTE) return at;
    if (char === BACKSLASH) at = skipEscape(bytes, at);
    else if (char < SPACE) throw invalid(NOT_JSON);
    else at++;
  }
  return at;
}

function skipEscape(bytes: Uint8Array, from: number): number {
  const char = bytes[from + 1];
  if (isEscaped(char)) return from + 2;
  if (char !== LETTER_U) throw invalid(NOT_JSON);
  for (let digit = from + 2; digit < from + 6; digit++) if (!isHex(bytes[digit])) throw invalid(NOT_JSON);
  return from + 6;
}

function skipScalar(bytes: Uint8Array, from: number): number {
  switch (bytes[from]) {
    case LETTER_T:
      return skipWord(bytes, from, TRUE);
    case LETTER_F:
      return skipWord(bytes, from, FALSE);
    case LETTER_N:
      return skipWord(bytes, from, NULL);
    default:
      return skipNumber(bytes, from);
  }
}

function skipWord(bytes: Uint8Array, from: number, word: Uint8Array): number {
  for (let at = 0; at < word.length; at++) if (bytes[from + at] !== word[at]) throw invalid(NOT_JSON);
  return from + word.length;
}

/** RFC 8259 section 6: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?` */
function skipNumber(bytes: Uint8Array, from: number): number {
  const stop = Math.min(bytes.length, from + MAX_NUMBER + 1);
  let at = bytes[from] === MINUS ? from + 1 : from;
  at = bytes[at] === ZERO ? at + 1 : skipDigits(bytes, at, stop);
  if (bytes[at] === DOT) at = skipDigits(bytes, at + 1, stop);
  if (bytes[at] === LETTER_E || bytes[at] === CAPITAL_E) {
    at++;
    if (bytes[at] === PLUS || bytes[at] === MINUS) at++;
    at = skipDigits(bytes, at, stop);
  }
  if (at - from > MAX_NUMBER) throw invalid(`a number has more than ${MAX_NUMBER} characters`);
  return at;
}

function skipDigits(bytes: Uint8Array, from: number, stop: number): number {
  let at = from;
  while (at < stop && bytes[at]! >= ZERO && bytes[at]! <= NINE) at++;
  if (at === from) throw invalid(NOT_JSON);
  return at;
}

/** `"`, `\`, `/`, b, f, n, r, t */
function isEscaped(char = 0): boolean {
  switch (char) {
    case QUOTE:
    case BACKSLASH:
    case SLASH:
    case 0x62:
    case 0x66:
    case 0x6e:
    case 0x72:
    case 0x74:
      return true;
    default:
      return false;
  }
}

function isHex(char = 0): boolean {
  return (char >= ZERO && char <= NINE) || ((char | 0x20) >= 0x61 && (char | 0x20) <= 0x66);
}

function invalid(problem: string): SallyportError {
  return new SallyportError('MESSAGE_INVALID', { problem });
}

const NOT_JSON = 'it is not JSON';
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
/** From `[` to `]`, and from `{` to `}`. */
const TO_CLOSE = 2;
const COMMA = 0x2c;
const COLON = 0x3a;
const SPACE = 0x20;
const TAB = 0x09;
const NEWLINE = 0x0a;
const RETURN = 0x0d;
const MINUS = 0x2d;
const PLUS = 0x2b;
const DOT = 0x2e;
const SLASH = 0x2f;
const ZERO = 0x30;
const NINE = 0x39;
const CAPITAL_E = 0x45;
const LETTER_E = 0x65;
const LETTER_F = 0x66;
const LETTER_N = 0x6e;
const LETTER_T = 0x74;
const LETTER_U = 0x75;
const TRUE = Buffer.from('true');
const FALSE = Buffer.from('false');
const NULL = Buffer.from('null');
