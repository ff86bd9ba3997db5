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

/**
 * One pass over a JSON text in UTF-8, in linear time, without recursion. JSON.parse takes what it has
 * accepted.
 */
export class JsonScanner {
  readonly #bytes: Uint8Array;
  readonly #limits: JsonLimits;
  #values = 0;
  /** Of the value skipped last. */
  #fields = 0;

  constructor(bytes: Uint8Array, limits: JsonLimits = DEFAULT_JSON_LIMITS) {
    this.#bytes = bytes;
    this.#limits = limits;
  }

  /**
   * Checks that the whole text is one value. @throws MESSAGE_INVALID, CONTENT_TOO_DEEP,
   * CONTENT_TOO_MANY_VALUES
   */
  value(): void {
    this.#end(this.#skipValue(this.#space(0), 0));
  }

  /** Checks that the whole text is one object, and says where its members stand. @throws as {@link value} */
  members(): MemberRange[] {
    const bytes = this.#bytes;
    const found: MemberRange[] = [];
    let at = this.#space(0);
    if (bytes[at] !== OPEN_OBJECT) throw invalid(bytes.length === 0 ? NOT_JSON : 'it is not an object');
    at = this.#space(at + 1);
    if (bytes[at] === CLOSE_OBJECT) {
      this.#end(at + 1);
      return found;
    }
    for (;;) {
      const keyFrom = at;
      if (bytes[at] !== QUOTE) throw invalid(NOT_JSON);
      const keyTo = this.#skipString(at);
      const from = this.#space(this.#colon(keyTo));
      const to = this.#skipValue(from, 1);
      if (found.length === MAX_MEMBERS) throw invalid('it has too many fields');
      found.push({ keyFrom, keyTo, from, to, fields: this.#fields });
      at = this.#space(to);
      const char = bytes[at];
      if (char === CLOSE_OBJECT) {
        this.#end(at + 1);
        return found;
      }
      if (char !== COMMA) throw invalid(NOT_JSON);
      at = this.#space(at + 1);
    }
  }

  #end(at: number): void {
    if (this.#space(at) !== this.#bytes.length) throw invalid(NOT_JSON);
  }

  #space(from: number): number {
    const bytes = this.#bytes;
    let at = from;
    while (at < bytes.length) {
      const char = bytes[at]!;
      if (char > SPACE) break;
      if (char !== SPACE && char !== NEWLINE && char !== RETURN && char !== TAB) break;
      at++;
    }
    return at;
  }

  #colon(from: number): number {
    const at = this.#space(from);
    if (this.#bytes[at] !== COLON) throw invalid(NOT_JSON);
    return at + 1;
  }

  #key(from: number): number {
    const at = this.#space(from);
    if (this.#bytes[at] !== QUOTE) throw invalid(NOT_JSON);
    return this.#colon(this.#skipString(at));
  }

  /** @param base how deep the value already stands @returns where it ends */
  #skipValue(from: number, base: number): number {
    const bytes = this.#bytes;
    const maxDepth = this.#limits.maxMessageDepth - base;
    const maxValues = this.#limits.maxMessageValues;
    /** Of each level, whether it is an object. */
    const kinds: boolean[] = [];
    let at = from;
    let depth = 0;
    let fields = 0;
    for (;;) {
      at = this.#space(at);
      if (++this.#values > maxValues)
        throw new SallyportError('CONTENT_TOO_MANY_VALUES', { limit: maxValues });
      const char = bytes[at];
      if (char === OPEN_OBJECT || char === OPEN_ARRAY) {
        if (depth >= maxDepth)
          throw new SallyportError('CONTENT_TOO_DEEP', { limit: this.#limits.maxMessageDepth });
        const isObject = char === OPEN_OBJECT;
        at = this.#space(at + 1);
        if (bytes[at] !== (isObject ? CLOSE_OBJECT : CLOSE_ARRAY)) {
          kinds[depth++] = isObject;
          if (isObject) {
            if (depth === 1) fields++;
            at = this.#key(at);
          }
          continue;
        }
        at++;
      } else if (char === QUOTE) at = this.#skipString(at);
      else at = this.#skipScalar(at);
      for (;;) {
        if (depth === 0) {
          this.#fields = fields;
          return at;
        }
        at = this.#space(at);
        const isObject = kinds[depth - 1]!;
        const next = bytes[at];
        if (next === COMMA) {
          if (isObject && depth === 1) fields++;
          at = isObject ? this.#key(at + 1) : at + 1;
          break;
        }
        if (next !== (isObject ? CLOSE_OBJECT : CLOSE_ARRAY)) throw invalid(NOT_JSON);
        at++;
        depth--;
      }
    }
  }

  /** @param from place of the first quote @returns the place after the last */
  #skipString(from: number): number {
    const bytes = this.#bytes;
    const { length } = bytes;
    let at = from + 1;
    while (at < length) {
      const char = bytes[at]!;
      if (char === QUOTE) return at + 1;
      if (char === BACKSLASH) {
        if (bytes[at + 1] === LETTER_U) {
          for (let digit = at + 2; digit < at + 6; digit++) if (!isHex(bytes[digit])) throw invalid(NOT_JSON);
          at += 6;
        } else if (isEscaped(bytes[at + 1])) at += 2;
        else throw invalid(NOT_JSON);
      } else if (char < SPACE) throw invalid(NOT_JSON);
      else at++;
    }
    throw invalid(NOT_JSON);
  }

  #skipScalar(from: number): number {
    switch (this.#bytes[from]) {
      case LETTER_T:
        return this.#word(from, TRUE);
      case LETTER_F:
        return this.#word(from, FALSE);
      case LETTER_N:
        return this.#word(from, NULL);
      default:
        return this.#skipNumber(from);
    }
  }

  #word(from: number, word: Uint8Array): number {
    for (let at = 0; at < word.length; at++) if (this.#bytes[from + at] !== word[at]) throw invalid(NOT_JSON);
    return from + word.length;
  }

  /** RFC 8259 section 6: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?` */
  #skipNumber(from: number): number {
    const bytes = this.#bytes;
    let at = bytes[from] === MINUS ? from + 1 : from;
    at = bytes[at] === ZERO ? at + 1 : this.#digits(at);
    if (bytes[at] === DOT) at = this.#digits(at + 1);
    if (bytes[at] === LETTER_E || bytes[at] === CAPITAL_E) {
      at++;
      if (bytes[at] === PLUS || bytes[at] === MINUS) at++;
      at = this.#digits(at);
    }
    if (at - from > MAX_NUMBER) throw invalid(`a number has more than ${MAX_NUMBER} characters`);
    return at;
  }

  #digits(from: number): number {
    const bytes = this.#bytes;
    let at = from;
    while (at < bytes.length && bytes[at]! >= ZERO && bytes[at]! <= NINE) at++;
    if (at === from) throw invalid(NOT_JSON);
    return at;
  }
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
