import { SallyportError } from '../core/errors.ts';

/** Longest text of a number. A float64 needs 24 characters, an int64 20; some parsers take quadratic time. */
const MAX_NUMBER = 1_024;

/** @returns the first place that is no space, at most `stop` */
export function skipSpace(bytes: Uint8Array, from: number, stop: number): number {
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
export function skipText(bytes: Uint8Array, from: number, stop: number): number {
  let at = from;
  while (at < stop) {
    const char = bytes[at]!;
    if (char === QUOTE) return at;
    if (char === BACKSLASH) at = skipEscape(bytes, at);
    else if (char < SPACE) throw notJson();
    else at++;
  }
  return at;
}

function skipEscape(bytes: Uint8Array, from: number): number {
  const char = bytes[from + 1];
  if (isEscaped(char)) return from + 2;
  if (char !== LETTER_U) throw notJson();
  for (let digit = from + 2; digit < from + 6; digit++) if (!isHex(bytes[digit])) throw notJson();
  return from + 6;
}

/** @returns the place behind a number, `true`, `false` or `null` */
export function skipScalar(bytes: Uint8Array, from: number): number {
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
  for (let at = 0; at < word.length; at++) if (bytes[from + at] !== word[at]) throw notJson();
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
  if (at - from > MAX_NUMBER) throw notJson(`a number has more than ${MAX_NUMBER} characters`);
  return at;
}

function skipDigits(bytes: Uint8Array, from: number, stop: number): number {
  let at = from;
  while (at < stop && bytes[at]! >= ZERO && bytes[at]! <= NINE) at++;
  if (at === from) throw notJson();
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

export function notJson(problem = 'it is not JSON'): SallyportError {
  return new SallyportError('MESSAGE_INVALID', { problem });
}

export const QUOTE = 0x22;
const BACKSLASH = 0x5c;
export const OPEN_ARRAY = 0x5b;
export const OPEN_OBJECT = 0x7b;
/** From `[` to `]`, and from `{` to `}`. */
export const TO_CLOSE = 2;
export const COMMA = 0x2c;
export const COLON = 0x3a;
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
