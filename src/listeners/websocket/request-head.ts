/** Longest head, bytes: Node's own limit (`http.maxHeaderSize`). EdgeCore sends about 300. */
const MAX_HEAD_BYTES = 16 * 1024;
const MAX_HEADERS = 64;
const END = '\r\n\r\n';

/** RFC 9110 §5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** RFC 9112 §3; a target of visible ASCII, whatever its form. */
const REQUEST_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([\x21-\x7e]+) HTTP\/1\.1$/;
/** What a field value must not hold (RFC 9110 §5.5). Others take a lone CR or LF for an end. */
const CONTROL = /[^\t\x20-\x7e\x80-\xff]/;
const NOT_HTTP: BadHead = { ok: false, status: 400, detail: 'the request is not HTTP/1.1' };

/**
 * Name in lower case → value, latin1. Values of a name that came several times are separated by a line feed,
 * which no value can hold: see {@link only}.
 */
export type Fields = ReadonlyMap<string, string>;

/** The head of a request, which has no body. */
export interface RequestHead {
  readonly ok: true;
  readonly target: string;
  readonly fields: Fields;
  /** Bytes it took; what follows is not HTTP any more. */
  readonly bytes: number;
}

export interface BadHead {
  readonly ok: false;
  readonly status: 400 | 405 | 431;
  readonly detail: string;
}

/**
 * Reads the head of a GET without a body (RFC 9112), strictly: nothing is repaired, so that nobody before us
 * can have understood the bytes in another way. @returns undefined while its end is missing
 */
export function readRequestHead(bytes: Buffer): RequestHead | BadHead | undefined {
  const end = bytes.subarray(0, MAX_HEAD_BYTES).indexOf(END, 0, 'latin1');
  if (end < 0) return problemOfPart(bytes);
  const [first, ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  const [, method, target] = REQUEST_LINE.exec(first!) ?? [];
  if (method === undefined || target === undefined) return NOT_HTTP;
  if (lines.length > MAX_HEADERS) return tooLarge(`it has more than ${MAX_HEADERS} headers`);
  const fields = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(colon, 0));
    // A folded line, and a space before the colon, fail here as well (§5.1, §5.2).
    if (!TOKEN.test(name) || CONTROL.test(line)) return bad('a header is malformed');
    const key = name.toLowerCase();
    const value = withoutSpace(line, colon + 1);
    const before = fields.get(key);
    fields.set(key, before === undefined ? value : `${before}\n${value}`);
  }
  return problemOf(method, fields) ?? { ok: true, target, fields, bytes: end + END.length };
}

/** The value of a header given exactly once: several must not pass for one. @param name in lower case */
export function only(fields: Fields, name: string): string | undefined {
  const value = fields.get(name);
  return value?.includes('\n') ? undefined : value;
}

function problemOf(method: string, fields: Fields): BadHead | undefined {
  if (method !== 'GET')
    return { ok: false, status: 405, detail: `the method ${method} is not served here, only GET` };
  if (only(fields, 'host') === undefined) return bad('the header Host has to be given exactly once');
  if (fields.has('transfer-encoding') || (fields.get('content-length') ?? '0') !== '0')
    return bad('a request with a body is not served here');
  return undefined;
}

/** What is wrong already, so that nobody has to wait for the end of what is no request. */
function problemOfPart(bytes: Buffer): BadHead | undefined {
  if (bytes.length >= MAX_HEAD_BYTES) return tooLarge(`it is longer than ${MAX_HEAD_BYTES} bytes`);
  const line = bytes.indexOf('\n', 0, 'latin1');
  if (line < 0) return undefined;
  const isRequest = bytes[line - 1] === 0x0d && REQUEST_LINE.test(bytes.toString('latin1', 0, line - 1));
  return isRequest ? undefined : NOT_HTTP;
}

/** Without the optional whitespace around it: space and tab, and nothing that Unicode takes for a space. */
function withoutSpace(line: string, from: number): string {
  const isSpace = (at: number) => line[at] === ' ' || line[at] === '\t';
  let to = line.length;
  while (from < to && isSpace(from)) from++;
  while (to > from && isSpace(to - 1)) to--;
  return line.slice(from, to);
}

function bad(detail: string): BadHead {
  return { ok: false, status: 400, detail };
}

function tooLarge(detail: string): BadHead {
  return { ok: false, status: 431, detail: `the head of the request is too large: ${detail}` };
}
