import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createLogger } from '../../../src/core/pino-log.ts';
import { printable, printableLines } from '../../../src/core/printable.ts';

const hostile = 'a\u001b[2J\r\nb\u009b31m\u202e\u2028c\u{e0001}';

test('O4: text of an edge has no character left that rules a terminal', () => {
  expect(printable(hostile)).toBe('a\\u001b[2J\\u000d\\u000ab\\u009b31m\\u202e\\u2028c\\udb40\\udc01');
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(printable(text)).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
      expect(JSON.parse(printableLines(JSON.stringify(text)))).toBe(text);
    }),
  );
});

test('O4: text that is laid out keeps its lines and colours, and nothing else', () => {
  expect(printableLines('\u001b[31mred\u001b[0m\n\tx\u001b[2J\r\u009b')).toBe(
    '\u001b[31mred\u001b[0m\n\tx\\u001b[2J\\u000d\\u009b',
  );
});

test.each(['json', 'pretty'] as const)(
  'O4: what an edge names cannot forge a line of the log (%s)',
  (format) => {
    let written = '';
    const log = createLogger({ level: 'info', format, destination: { write: (line) => (written += line) } });
    log.info({ agent: hostile }, 'node connected');
    expect(written.match(/\n/g)).toHaveLength(1);
    for (const char of ['\u009b', '\u202e', '\u2028', '\u001b[2J', '\r']) expect(written).not.toContain(char);
  },
);
