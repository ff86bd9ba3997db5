import { createHash } from 'node:crypto';

/** A trial server says which client certificate it was shown, which proves that it asks for one. */
export function trialReply(clientCertificate: Uint8Array | undefined): string {
  return clientCertificate ? createHash('sha256').update(clientCertificate).digest('hex') : 'none';
}
