import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { CLOSE_REASONS, parseClose } from '../../../src/protocol/close-reasons.ts';
import {
  decodeFramed,
  encodeFrame,
  encodeFramed,
  FRAME_TYPES,
  type Frame,
  FrameDecoder,
} from '../../../src/protocol/codec-framed.ts';
import { decodeJson, encodeJson } from '../../../src/protocol/codec-json.ts';
import { createResponse } from '../../../src/protocol/message.ts';
import { encodeHello, encodeWelcome, parseHello, parseWelcome } from '../../../src/protocol/quic-control.ts';

const read = (file: string) => readFileSync(file, 'utf8');

describe('V4: the test vectors of docs/protocol-quic.md', () => {
  const vectors = [
    ...read('docs/protocol-quic.md').matchAll(
      /^(\w+):\n\n(?:```json\n(.*)\n```\n\n)?```hex\n([\s\S]*?)```/gm,
    ),
  ].map(([, name, json = '', hex]) => ({
    name: name as keyof typeof FRAME_TYPES,
    json,
    bytes: Buffer.from(hex!.replaceAll(/\s/g, ''), 'hex'),
  }));
  /** JSON of each payload, read and written. */
  const codecs = {
    hello: { encode: (json: string) => encodeHello(JSON.parse(json)), decode: parseHello },
    welcome: { encode: (json: string) => encodeWelcome(JSON.parse(json)), decode: parseWelcome },
    ping: { encode: () => encodeFrame(FRAME_TYPES.ping, new Uint8Array()), decode: () => '' },
    pong: { encode: () => encodeFrame(FRAME_TYPES.pong, new Uint8Array()), decode: () => '' },
    message: {
      encode: (json: string) => encodeFramed(decodeJson(Buffer.from(json))),
      decode: (payload: Uint8Array) => JSON.parse(encodeJson(decodeFramed(payload)).toString()),
    },
  };

  test('there is one of each type', () => {
    expect(vectors.map(({ name }) => name).sort()).toEqual(Object.keys(FRAME_TYPES).sort());
  });

  test.each(vectors)('$name is encoded to these bytes, and decoded from them', ({ name, json, bytes }) => {
    expect(Buffer.from(codecs[name].encode(json)).toString('hex')).toBe(bytes.toString('hex'));
    const frames: Frame[] = [];
    new FrameDecoder({ maxMessageBytes: 1024 }).push(bytes, (frame) => frames.push(frame));
    expect(frames.map(({ type }) => type)).toEqual([FRAME_TYPES[name]]);
    expect(codecs[name].decode(frames[0]!.payload)).toEqual(json === '' ? '' : JSON.parse(json));
  });
});

test('V4: the transcript of docs/protocol.md is what both ends would write', () => {
  const transcript = /### A transcript[\s\S]*?```text\n([\s\S]*?)```/.exec(read('docs/protocol.md'))![1]!;
  const frames = [...transcript.matchAll(/^([→←]) (\{.*\})$/gm)].map(([, from, json]) => {
    const message = decodeJson(Buffer.from(json!));
    expect(encodeJson(message).toString().trim()).toBe(json);
    return { from: from!, message };
  });
  expect(frames.map(({ from }) => from).join('')).toBe('→→←←→');
  const byId = new Map(frames.map(({ message }) => [message.header.msg_id, message]));
  const answers = frames.filter(({ message }) => message.header.parent_msg_id !== undefined);
  expect(answers).toHaveLength(2);
  for (const { message } of answers) {
    const asked = byId.get(message.header.parent_msg_id!)!;
    const { route, content } = createResponse(asked, 'OK', { now: 0 });
    expect(message).toMatchObject({ route, content });
  }
  const [, code, text] = /^← close (\d+) "(.*)"$/m.exec(transcript)!;
  expect(parseClose(Number(code), text!)).toEqual({
    ...{ name: 'Draining', ...CLOSE_REASONS.Draining },
    reconnectAfterMs: 1234,
  });
});
