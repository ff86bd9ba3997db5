import 'reflect-metadata';
import type { X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { canonicalIp } from './advertised-names.ts';

/** The DNS names and IP addresses of a certificate, in the form of `advertise.addresses`. */
export function namesOf(certificate: X509Certificate): string[] {
  const extension = new x509.X509Certificate(certificate.raw).getExtension(
    x509.SubjectAlternativeNameExtension,
  );
  return (extension?.names.items ?? []).flatMap(({ type, value }) => {
    if (type === 'dns') return [value];
    return type === 'ip' ? [canonicalIp(value) ?? value] : [];
  });
}

/** Node writes one RDN a line. */
export function oneLine(name: string): string {
  return name.replaceAll('\n', ', ');
}
