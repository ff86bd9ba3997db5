import { expect, test } from 'vitest';
import { explainHandshakeError } from '../../../src/listeners/handshake-errors.ts';

/** As Node 24 names them; older OpenSSL wrote SSLV3 where it now writes SSL/TLS. */
test.each([
  ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'client-unknown-ca'],
  ['ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE', 'client-bad-certificate'],
  ['ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE', 'client-bad-certificate'],
  ['ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_UNKNOWN', 'client-bad-certificate'],
  ['ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_EXPIRED', 'client-certificate-expired'],
  ['ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR', 'client-alert'],
  ['ERR_SSL_HTTP_REQUEST', 'plain-http'],
  ['ERR_SSL_UNSUPPORTED_PROTOCOL', 'no-common-tls'],
  ['ERR_SSL_NO_SHARED_CIPHER', 'no-common-tls'],
  ['ECONNRESET', 'disconnected'],
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'protocol'],
])('B3: %s is counted as %s and comes with advice', (code, reason) => {
  const failure = explainHandshakeError(Object.assign(new Error('x'), { code }));
  expect(failure.reason).toBe(reason);
  expect(failure.fix).not.toBe('');
});
