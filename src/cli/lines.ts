export interface LineReading {
  /** Bytes of the longest line that is told. */
  readonly maxBytes: number;
  /** A line without its end. */
  onLine(line: string): void;
  /** Called once for a longer line, which is not told. */
  onTooLong(): void;
}

const LINE_END = 0x0a;

/**
 * Tells each line of the input, and never keeps more than the longest one may have.
 * @returns what ends it
 */
export function readLines(input: NodeJS.ReadableStream, reading: LineReading): () => void {
  let parts: Buffer[] = [];
  let bytes = 0;
  const take = (part: Buffer) => {
    const wasTooLong = bytes > reading.maxBytes;
    bytes += part.length;
    if (wasTooLong) return;
    if (bytes <= reading.maxBytes) return void parts.push(part);
    parts = [];
    reading.onTooLong();
  };
  const endLine = () => {
    const [line, size] = [Buffer.concat(parts).toString('utf8'), bytes];
    parts = [];
    bytes = 0;
    if (size <= reading.maxBytes) reading.onLine(line.replace(/\r$/, ''));
  };
  const onData = (chunk: Buffer | string) => {
    const data = Buffer.from(chunk);
    let from = 0;
    for (let end = data.indexOf(LINE_END); end >= 0; end = data.indexOf(LINE_END, from)) {
      take(data.subarray(from, end));
      endLine();
      from = end + 1;
    }
    take(data.subarray(from));
  };
  const onEnd = () => {
    if (bytes > 0) endLine();
  };
  input.on('data', onData).on('end', onEnd);
  return () => {
    input.pause();
    input.off('data', onData).off('end', onEnd);
  };
}
