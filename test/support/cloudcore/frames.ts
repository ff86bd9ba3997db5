import { readFileSync } from 'node:fs';
import type { Message } from '../../../src/protocol/message.ts';

/** A message as it is on the wire. */
type MessageFields = Pick<Message, 'header' | 'route' | 'content'>;

/** A recorded frame: `line` is its line in the recording, from 1. */
export interface RecordedFrame extends MessageFields {
  readonly line: number;
  readonly at: number;
  readonly node: string;
  readonly dir: 'up' | 'down';
}

export const recordedFrames: readonly RecordedFrame[] = readFileSync(
  new URL('frames.jsonl', import.meta.url),
  'utf8',
)
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line));

/** @param line its line in the recording */
export function recordedFrame(line: number): RecordedFrame {
  const frame = recordedFrames.find((one) => one.line === line);
  if (!frame) throw new Error(`frames.jsonl does not hold line ${line} of the recording`);
  return frame;
}

/** As Go's encoder wrote it. */
export function frameText({ header, route, content }: MessageFields): string {
  return `${JSON.stringify({ header, route, content })}\n`;
}
