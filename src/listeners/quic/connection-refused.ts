import { createCipheriv, createHmac } from 'node:crypto';
import { LONG_INITIAL, type LongHeader, QUIC_V1 } from './quic-packet.ts';

/** RFC 9001 §5.2, for version 1. */
const INITIAL_SALT = Buffer.from('38762cf7f55934b34d179ae6a4c80cadccbb7f0a', 'hex');
/** RFC 9000 §19.19 and §20.1. */
const CONNECTION_CLOSE = 0x1c;
const CONNECTION_REFUSED = 0x02;
const TAG_BYTES = 16;

/**
 * The answer to a client's Initial that the hub has no room for (RFC 9000 §10.2.3): without it the client
 * waits for its time-out. It needs no state, because the keys of Initial packets follow from the connection
 * ID that the client chose; so nobody may believe what it says any more than a broken connection. It is
 * always shorter than the question.
 * @param reason for people, at most 200 characters
 */
export function connectionRefused({ destination, source }: LongHeader, reason: string): Buffer {
  const { key, iv, hp } = serverInitialKeys(Buffer.from(destination, 'latin1'));
  const text = Buffer.from(reason, 'utf8');
  const frame = Buffer.concat([
    Buffer.from([CONNECTION_CLOSE, CONNECTION_REFUSED, 0]),
    varint(text.length),
    text,
  ]);
  const version = Buffer.alloc(4);
  version.writeUInt32BE(QUIC_V1);
  const packetNumber = Buffer.from([0]);
  const header = Buffer.concat([
    Buffer.from([LONG_INITIAL]),
    version,
    Buffer.from([source.length]),
    Buffer.from(source, 'latin1'),
    Buffer.from([destination.length]),
    Buffer.from(destination, 'latin1'),
    // No token.
    varint(0),
    varint(packetNumber.length + frame.length + TAG_BYTES),
    packetNumber,
  ]);
  // The nonce is the IV, because the packet number is 0.
  const cipher = createCipheriv('aes-128-gcm', key, iv).setAAD(header);
  const body = Buffer.concat([cipher.update(frame), cipher.final(), cipher.getAuthTag()]);
  // RFC 9001 §5.4: the sample begins 4 bytes after the beginning of the packet number.
  const mask = createCipheriv('aes-128-ecb', hp, null).update(body.subarray(3, 19));
  header[0]! ^= mask[0]! & 0x0f;
  header[header.length - 1]! ^= mask[1]!;
  return Buffer.concat([header, body]);
}

/** Exported for the test with the vectors of RFC 9001, appendix A.1. */
export function serverInitialKeys(destination: Buffer) {
  const secret = expand(hmac(INITIAL_SALT, destination), 'server in', 32);
  return {
    key: expand(secret, 'quic key', 16),
    iv: expand(secret, 'quic iv', 12),
    hp: expand(secret, 'quic hp', 16),
  };
}

/** HKDF-Expand-Label (RFC 8446 §7.1) of up to one hash. */
function expand(secret: Buffer, label: string, bytes: number): Buffer {
  const name = Buffer.from(`tls13 ${label}`);
  const info = Buffer.concat([Buffer.from([0, bytes, name.length]), name, Buffer.from([0, 1])]);
  return hmac(secret, info).subarray(0, bytes);
}

function hmac(key: Buffer, data: Buffer): Buffer {
  return createHmac('sha256', key).update(data).digest();
}

/** RFC 9000 §16, below 16,384. */
function varint(value: number): Buffer {
  return value < 64 ? Buffer.from([value]) : Buffer.from([0x40 | (value >> 8), value & 0xff]);
}
