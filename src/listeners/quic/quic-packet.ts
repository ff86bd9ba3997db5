/**
 * What can be read of a QUIC datagram without keys: the version-independent header (RFC 8999) and, for
 * version 1, the packet type (RFC 9000 §17.2). Connection IDs are strings of one character a byte, so that
 * they can be keys of a map.
 */
export interface LongHeader {
  readonly version: number;
  /** Only meaningful for version 1. */
  readonly isInitial: boolean;
  readonly isRetry: boolean;
  readonly destination: string;
  readonly source: string;
}

export const QUIC_V1 = 1;
/** A client's first datagram is at least this long (RFC 9000 §14.1); shorter ones get no answer. */
export const MIN_INITIAL_BYTES = 1200;
/** Larger datagrams are dropped, whoever sends them. */
export const MAX_UDP_PAYLOAD_BYTES = 1350;
/**
 * Larger datagrams are dropped both ways within a connection: the library searches for the largest its path
 * carries, and would find our loopback's 16 KB. It finds that out once. Should the path shrink later, to 1300
 * bytes inside of tunnels, it would lose every larger datagram until the connection ends. 1300 less 40 of
 * IPv6 and 8 of UDP.
 */
export const SAFE_UDP_PAYLOAD_BYTES = 1252;
/** EdgeCore's first datagram has 1072. */
const MIN_GOOGLE_INITIAL_BYTES = 1024;
/** Lengths less 3, in four bits each, destination first: 8 and none, none and 8. */
const GOOGLE_CLIENT_ID_LENGTHS = 0x50;
const GOOGLE_SERVER_ID_LENGTHS = 0x05;
const LONG = 0x80;
const FIXED = 0x40;
/** First byte of an Initial with a packet number of one byte (RFC 9000 §17.2.2). */
export const LONG_INITIAL = LONG | FIXED;

export function isLongHeader(datagram: Buffer): boolean {
  return datagram.length > 0 && (datagram[0]! & LONG) !== 0;
}

/** Undefined when the datagram is too short for what it announces. */
export function readLongHeader(datagram: Buffer): LongHeader | undefined {
  if (datagram.length < 7 || !isLongHeader(datagram)) return undefined;
  const sourceAt = 6 + datagram[5]!;
  if (sourceAt >= datagram.length) return undefined;
  const end = sourceAt + 1 + datagram[sourceAt]!;
  if (end > datagram.length) return undefined;
  return {
    version: datagram.readUInt32BE(1),
    isInitial: (datagram[0]! & 0x30) === 0,
    isRetry: (datagram[0]! & 0x30) === 0x30,
    destination: text(datagram, 6, sourceAt),
    source: text(datagram, sourceAt + 1, end),
  };
}

/** The destination connection ID of a short header, whose length only its owner knows. */
export function readShortDestination(datagram: Buffer, length: number): string | undefined {
  return datagram.length > length && (datagram[0]! & FIXED) !== 0 ? text(datagram, 1, 1 + length) : undefined;
}

/**
 * The answer to a client that speaks a version of QUIC we do not: RFC 9000 §6.1, §17.2.1. Always shorter than
 * the question.
 */
export function versionNegotiation(datagram: Buffer): Buffer | undefined {
  const header = datagram.length < MIN_INITIAL_BYTES ? undefined : readLongHeader(datagram);
  if (!header || header.version === QUIC_V1 || header.version === 0) return undefined;
  const { destination, source } = header;
  const answer = Buffer.alloc(7 + destination.length + source.length + 4);
  answer[0] = LONG | FIXED;
  answer[5] = source.length;
  answer.write(source, 6, 'latin1');
  answer[6 + source.length] = destination.length;
  answer.write(destination, 7 + source.length, 'latin1');
  answer.writeUInt32BE(QUIC_V1, answer.length - 4);
  return answer;
}

/**
 * The answer to KubeEdge's own QUIC of 2019, gQUIC Q044, as EdgeCore's library (quic-go 0.10.1) reads and
 * writes it: a long header whose two connection ID lengths share a byte, four bits each. Its client looks for
 * its connection under the empty destination ID, finds that no version is shared, and says so, instead of
 * waiting (requirements K3, Q4).
 */
export function googleVersionNegotiation(datagram: Buffer): Buffer | undefined {
  if (datagram.length < MIN_GOOGLE_INITIAL_BYTES || !isLongHeader(datagram)) return undefined;
  if (!/^Q\d{3}$/.test(text(datagram, 1, 5)) || datagram[5] !== GOOGLE_CLIENT_ID_LENGTHS) return undefined;
  const answer = Buffer.alloc(18);
  answer[0] = LONG;
  answer[5] = GOOGLE_SERVER_ID_LENGTHS;
  datagram.copy(answer, 6, 6, 14);
  answer.writeUInt32BE(QUIC_V1, 14);
  return answer;
}

function text(datagram: Buffer, from: number, to: number): string {
  return datagram.toString('latin1', from, to);
}
