const UNITS = /** @type {const} */ ([
  ['y', 365 * 86_400_000],
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
]);

/**
 * `3 d`, `5 h`: one unit is enough to know where one stands; years get a decimal.
 * @param {number} ms
 */
export function duration(ms) {
  const size = Math.abs(ms);
  if (size >= 2 * UNITS[0][1]) return `${(size / UNITS[0][1]).toFixed(1)} y`;
  for (const [unit, length] of UNITS.slice(1))
    if (size >= 2 * length || unit === 's') return `${Math.floor(size / length)} ${unit}`;
  return '0 s';
}

/**
 * `in 3 d`, `5 h ago`.
 * @param {string | undefined} iso
 * @param {number} now milliseconds since the epoch
 */
export function relative(iso, now) {
  if (iso === undefined) return '–';
  const ms = Date.parse(iso) - now;
  return ms >= 0 ? `in ${duration(ms)}` : `${duration(ms)} ago`;
}

/** @param {string | undefined} iso */
export function day(iso) {
  return iso === undefined ? '–' : iso.slice(0, 10);
}

/**
 * The first octets are enough to compare by eye.
 * @param {string | undefined} hex
 */
export function short(hex) {
  return hex ? hex.slice(0, 12) : '–';
}

/** @param {number} value */
export function count(value) {
  return value.toLocaleString('en-GB');
}

/**
 * @param {number} value
 * @param {string} one
 * @param {string} [many]
 */
export function plural(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/**
 * What moves a cursor, breaks a line or turns the direction of writing, written as JSON writes it: what a
 * node names cannot look like another name. As src/core/printable.ts.
 * @param {string} text
 */
export function printable(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) =>
    [...Array(char.length).keys()]
      .map((at) => `\\u${char.charCodeAt(at).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}

/** @param {number} value */
export function bytes(value) {
  return value < 1_024 ? `${value} B` : `${count(Math.round(value / 1_024))} KiB`;
}

/**
 * A word as a shell takes it.
 * @param {string} text
 */
export function quote(text) {
  return /^[\w./:=@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
