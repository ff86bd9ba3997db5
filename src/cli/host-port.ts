import { isIPv6 } from 'node:net';

export interface HostPort {
  /** A name or an address, IPv6 in brackets. */
  readonly host: string;
  readonly port?: number;
}

/** `HOST` or `HOST:PORT`, IPv6 with a port in brackets; undefined when it is neither. */
export function parseHostPort(text: string): HostPort | undefined {
  if (isIPv6(text)) return { host: `[${text}]` };
  const [, host, port] = /^(\[[\da-f:.]+\]|[^:/[\]\s@?#]+)(?::(\d{1,5}))?$/i.exec(text) ?? [];
  if (host === undefined) return undefined;
  if (port === undefined) return { host };
  return Number(port) >= 1 && Number(port) <= 65_535 ? { host, port: Number(port) } : undefined;
}
