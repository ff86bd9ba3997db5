import { decodeJson } from './codec-json.ts';

/** How Go's encoder begins a message. What is longer, or has escapes, is read in full. */
const BEGINNING = /^\{"header":\{"msg_id":"[ !#-[\]-~]*",(?:"parent_msg_id":"([ !#-[\]-~]*)",)?"timestamp":/;
const BEGINNING_BYTES = 160;

/**
 * The id of the message that a JSON frame answers; undefined when it answers none, or cannot be read. The
 * rest of the frame is not looked at.
 */
export function answeredId(frame: Buffer): string | undefined {
  const found = BEGINNING.exec(frame.toString('latin1', 0, BEGINNING_BYTES));
  if (found) return found[1];
  try {
    return decodeJson(frame).header.parent_msg_id;
  } catch {
    return undefined;
  }
}
