import { describe, expect, test } from 'vitest';
import { answeredId } from '../../../src/protocol/answered-id.ts';
import { frameText, recordedFrames } from '../../support/cloudcore/frames.ts';

describe('answeredId', () => {
  test('U1: it tells of every recorded frame what its header says', () => {
    for (const frame of recordedFrames)
      expect(answeredId(Buffer.from(frameText(frame)))).toBe(frame.header.parent_msg_id);
  });

  test('U1: another order of fields, escapes and long ids are read in full', () => {
    const long = 'x'.repeat(200);
    const parent = '"parent_msg_id":"q\\u002d1"';
    const frames = {
      'q-1': `{"route":{},"header":{"timestamp":1,${parent},"msg_id":"a"}}`,
      [long]: `{"header":{"msg_id":"a","parent_msg_id":"${long}","timestamp":1},"route":{}}`,
      'q-2': '{"header":{"msg_id":"\\u0061","parent_msg_id":"q-2","timestamp":1},"route":{}}',
      ü: '{"header":{"msg_id":"a","parent_msg_id":"ü","timestamp":1},"route":{}}',
    };
    for (const [id, frame] of Object.entries(frames)) expect(answeredId(Buffer.from(frame))).toBe(id);
  });

  test('U1: what cannot be read answers nothing', () => {
    for (const text of ['', '{', '[]', '{"header":{"msg_id":"a","parent_msg_id":7},"route":{}}'])
      expect(answeredId(Buffer.from(text))).toBeUndefined();
  });
});
