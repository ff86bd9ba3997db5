/** Content as large as may be, of every shape that costs a parser or a buffer most. */
export interface LargestShape {
  readonly what: string;
  /** @param bytes about how long the JSON is */
  readonly make: (bytes: number) => string;
  /** How it is counted when it is refused; undefined when it is taken, at two megabytes. */
  readonly counted?: string;
}

const list = (unit: string) => (bytes: number) =>
  `[${`${unit},`.repeat(Math.floor(bytes / (unit.length + 1)) - 1)}${unit}]`;

export const LARGEST_SHAPES: readonly LargestShape[] = [
  { what: 'a long text', make: (bytes) => `"${'x'.repeat(bytes)}"` },
  { what: 'a text of escapes', make: (bytes) => `"${'\\u00e9'.repeat(bytes / 6)}"` },
  { what: 'a text beyond ASCII', make: (bytes) => `"${'é'.repeat(bytes / 2)}"` },
  { what: 'space', make: (bytes) => `${' '.repeat(bytes)}1` },
  { what: 'numbers of 1,000 digits', make: list('7'.repeat(1_000)) },
  { what: 'texts of twenty letters', make: list(`"${'x'.repeat(20)}"`) },
  { what: 'one number', make: (bytes) => '7'.repeat(bytes), counted: 'malformed' },
  {
    what: 'deep nesting',
    make: (bytes) => '['.repeat(bytes / 2) + ']'.repeat(bytes / 2),
    counted: 'content-too-deep',
  },
  { what: 'small numbers', make: list('1'), counted: 'content-too-many-values' },
  { what: 'objects of one member', make: list('{"a":1}') },
  { what: 'empty objects', make: list('{}') },
];
