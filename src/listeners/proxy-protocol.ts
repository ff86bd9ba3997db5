import { BlockList, isIP, type Socket } from 'node:net';
import { SallyportError } from '../core/errors.ts';
import { plainAddress } from './address-limit.ts';

/** The balancers whose PROXY protocol header is believed. */
export class CidrList {
  readonly #list = new BlockList();
  readonly #empty: boolean;

  /** @throws CONFIG_INVALID for what is neither an address nor a CIDR */
  constructor(cidrs: readonly string[]) {
    this.#empty = cidrs.length === 0;
    for (const cidr of cidrs) {
      const [address = '', bits, more] = cidr.split('/');
      const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
      const length = bits === undefined ? (family === 'ipv6' ? 128 : 32) : Number(bits);
      const valid = isIP(address) !== 0 && more === undefined && /^\d{1,3}$/.test(bits ?? '0');
      if (!valid || length > (family === 'ipv6' ? 128 : 32))
        throw new SallyportError('CONFIG_INVALID', {
          problem: `limits.proxyProtocolFrom holds ${cidr.slice(0, 60)}, which is not a CIDR`,
        });
      this.#list.addSubnet(address, length, family);
    }
  }

  has(address: string): boolean {
    return !this.#empty && this.#list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
  }
}

export type ProxyHeader =
  /** `address` is undefined for LOCAL and UNKNOWN: the balancer itself, a health check. */
  | { readonly kind: 'complete'; readonly address: string | undefined; readonly length: number }
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'invalid' };

const V2_SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
const V1_START = Buffer.from('PROXY ');
/** Longest header of version 1 (HAProxy's proxy-protocol.txt §2.1). */
const V1_MAX = 107;
/** Version 2 may carry TLVs; more than this is nobody's balancer. */
const V2_MAX = 4096;

/**
 * Reads a PROXY protocol header of version 1 or 2 at the start of `data` (HAProxy, doc/proxy-protocol.txt).
 * Never throws.
 */
export function readProxyHeader(data: Buffer): ProxyHeader {
  if (startsLike(data, V2_SIGNATURE)) return data.length < 16 ? { kind: 'incomplete' } : readV2(data);
  if (startsLike(data, V1_START)) return readV1(data);
  return { kind: 'invalid' };
}

/** Reads the header off a fresh socket and leaves what follows in it. Deadlines are the caller's. */
export function awaitProxyHeader(
  socket: Socket,
  done: (header: Exclude<ProxyHeader, { kind: 'incomplete' }>) => void,
): void {
  let data = Buffer.alloc(0);
  const onReadable = () => {
    for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null)
      data = Buffer.concat([data, chunk]);
    const header = readProxyHeader(data);
    if (header.kind === 'incomplete') return;
    socket.off('readable', onReadable);
    if (header.kind === 'complete' && header.length < data.length)
      socket.unshift(data.subarray(header.length));
    done(header);
  };
  socket.on('readable', onReadable);
}

function startsLike(data: Buffer, wanted: Buffer): boolean {
  const length = Math.min(data.length, wanted.length);
  return data.subarray(0, length).equals(wanted.subarray(0, length));
}

function readV1(data: Buffer): ProxyHeader {
  const end = data.indexOf('\r\n');
  if (end < 0) return data.length >= V1_MAX ? { kind: 'invalid' } : { kind: 'incomplete' };
  if (end + 2 > V1_MAX) return { kind: 'invalid' };
  const length = end + 2;
  const [, protocol, source = '', target = '', sourcePort = '', targetPort = '', more] = data
    .toString('latin1', 0, end)
    .split(' ');
  if (protocol === 'UNKNOWN') return { kind: 'complete', address: undefined, length };
  const family = protocol === 'TCP4' ? 4 : protocol === 'TCP6' ? 6 : 0;
  const ports = [sourcePort, targetPort].every((port) => /^\d{1,5}$/.test(port) && Number(port) <= 65_535);
  if (family === 0 || isIP(source) !== family || isIP(target) !== family || !ports || more !== undefined)
    return { kind: 'invalid' };
  return { kind: 'complete', address: plainAddress(source), length };
}

function readV2(data: Buffer): ProxyHeader {
  const version = data[12]! >> 4;
  const command = data[12]! & 0x0f;
  const family = data[13]! >> 4;
  const payload = data.readUInt16BE(14);
  const length = 16 + payload;
  if (version !== 2 || command > 1 || length > V2_MAX) return { kind: 'invalid' };
  if (data.length < length) return { kind: 'incomplete' };
  // LOCAL (0) is the balancer's own check; AF_UNSPEC and AF_UNIX name no address.
  if (command === 0 || family === 0 || family === 3) return { kind: 'complete', address: undefined, length };
  if (family === 1 && payload >= 12)
    return { kind: 'complete', address: data.subarray(16, 20).join('.'), length };
  if (family === 2 && payload >= 36) {
    const groups = Array.from({ length: 8 }, (_, n) => data.readUInt16BE(16 + 2 * n).toString(16));
    return { kind: 'complete', address: plainAddress(compress(groups.join(':'))), length };
  }
  return { kind: 'invalid' };
}

/** The usual short form, as `socket.remoteAddress` has it. */
function compress(address: string): string {
  return new URL(`http://[${address}]`).hostname
    .slice(1, -1)
    .replace(/^::ffff:([0-9a-f]+):([0-9a-f]+)$/, mapped);
}

function mapped(_: string, high: string, low: string): string {
  const [a, b] = [Number.parseInt(high, 16), Number.parseInt(low, 16)];
  return `${a >> 8}.${a & 255}.${b >> 8}.${b & 255}`;
}
