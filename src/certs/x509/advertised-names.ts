import { isIP, SocketAddress } from 'node:net';
import { SallyportError } from '../../core/errors.ts';

export interface AdvertisedNames {
  readonly dns: readonly string[];
  /** In their canonical text form, so that `fd00:0::1` and `fd00::1` are one. */
  readonly ips: readonly string[];
}

/** RFC 1123 host name, with an optional wildcard as its whole first label (RFC 6125 section 6.4.3). */
const DNS_NAME = /^(?:\*\.)?[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/;

/**
 * Sorts `advertise.addresses` into the SANs of the hub certificate: names → DNS, IPs → IP, empty ones
 * ignored, duplicates merged (requirement B2).
 * @throws ADDRESS_INVALID for what is neither, and for an empty list
 */
export function parseAdvertisedNames(addresses: readonly string[]): AdvertisedNames {
  const dns = new Set<string>();
  const ips = new Set<string>();
  for (const address of addresses) {
    const text = address.trim();
    if (text === '') continue;
    const ip = canonicalIp(text);
    if (ip !== undefined) ips.add(ip);
    else if (isDnsName(text)) dns.add(text.toLowerCase().replace(/\.$/, ''));
    else throw new SallyportError('ADDRESS_INVALID', { address: JSON.stringify(address) });
  }
  if (dns.size + ips.size === 0)
    throw new SallyportError('ADDRESS_INVALID', { address: 'no address at all' });
  return { dns: [...dns], ips: [...ips] };
}

/** The one text form of an IP address; undefined when it is none. Zone indices name no certificate. */
export function canonicalIp(text: string): string | undefined {
  const bare = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text;
  const family = isIP(bare);
  if (family === 0 || bare.includes('%')) return undefined;
  return new SocketAddress({ address: bare, family: family === 4 ? 'ipv4' : 'ipv6' }).address;
}

/** All digits and dots is a mistyped IP address (`10.0.0.256`), never a name. */
function isDnsName(text: string): boolean {
  const name = text.toLowerCase().replace(/\.$/, '');
  return name.length <= 253 && DNS_NAME.test(name) && !/^[\d.]+$/.test(name);
}
