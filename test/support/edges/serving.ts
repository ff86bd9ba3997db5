import type { X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';

/** The certificate that a real handshake on the port shows at this moment. */
export function servedCertificate(
  port: number,
  options: { servername?: string } = {},
): Promise<X509Certificate> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      { host: '127.0.0.1', port, servername: options.servername ?? 'localhost', rejectUnauthorized: false },
      () => {
        const certificate = socket.getPeerX509Certificate()!;
        socket.destroy();
        resolve(certificate);
      },
    );
    socket.once('error', reject);
  });
}
