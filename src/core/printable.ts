/**
 * What moves a cursor, breaks a line or turns the direction of writing: Unicode categories Cc (controls), Cf
 * (format), Zl and Zp (line and paragraph separators).
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/**
 * The text with every such character written as JSON writes it (`\u001b`), so that nothing that an edge can
 * name rules the terminal or the log of an operator (requirement O4).
 */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, escapeUnit);
}

/**
 * The same for text that is laid out already: line breaks, tabs and the colours of our own stay. In JSON this
 * changes strings only, and not their meaning.
 */
export function printableLines(text: string): string {
  return text.replace(UNPRINTABLE_IN_LINES, escapeUnit);
}

/** `ESC [ … m` sets a colour (ECMA-48 §8.3.117). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it is what this is about
const UNPRINTABLE_IN_LINES = /(?!\u001b\[[0-9;]*m)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}](?<![\n\t])/gu;

function escapeUnit(char: string): string {
  return [...Array(char.length).keys()]
    .map((at) => `\\u${char.charCodeAt(at).toString(16).padStart(4, '0')}`)
    .join('');
}
