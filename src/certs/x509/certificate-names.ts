import type { X509Certificate } from 'node:crypto';
import { certificateExtensions } from '../../core/certificate-extensions.ts';
import { contextTag, DerReader } from '../../core/der.ts';
import { canonicalIp } from './advertised-names.ts';

const SUBJECT_ALT_NAME = '551d11';
/** Of a GeneralName (RFC 5280 §4.2.1.6). */
const DNS_NAME = contextTag(2, 'primitive');
const IP_ADDRESS = contextTag(7, 'primitive');

/**
 * The DNS names and IP addresses of a certificate, in the form of `advertise.addresses`. Asked often, so it
 * reads this one extension and no more.
 */
export function namesOf(certificate: X509Certificate): string[] {
  const found: string[] = [];
  for (const { id, value } of certificateExtensions(certificate.raw)) {
    if (id !== SUBJECT_ALT_NAME) continue;
    for (const names = new DerReader(value).enter(); !names.isAtEnd; ) {
      const tag = names.tag!;
      const content = names.next(tag);
      const name =
        tag === DNS_NAME ? content.toString('latin1') : tag === IP_ADDRESS ? ipText(content) : undefined;
      if (name !== undefined) found.push(name);
    }
  }
  return found;
}

/** Undefined for a length that is no address. */
function ipText(bytes: Buffer): string | undefined {
  if (bytes.length === 4) return bytes.join('.');
  return canonicalIp(bytes.toString('hex').replace(/(.{4})(?!$)/g, '$1:'));
}

/** Node writes one RDN a line. */
export function oneLine(name: string): string {
  return name.replaceAll('\n', ', ');
}
