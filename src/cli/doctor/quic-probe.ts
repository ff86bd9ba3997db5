import { readHubCertificate } from '../../certs/bundle/hub-certificate.ts';
import { namesOf } from '../../certs/x509/certificate-names.ts';
import { isSallyportError, SallyportError } from '../../core/errors.ts';
import { silentLogger } from '../../core/log.ts';
import { closeReason } from '../../protocol/close-reasons.ts';
import { QuicTransport } from '../../sdk/transports/quic-transport.ts';
import { type Patient, secretOf } from './patient.ts';
import { storedIssuer } from './stored-cas.ts';

const TIMEOUT_MS = 5_000;

/**
 * The hub's no may overtake our hello, which then fails for want of a connection, before the reason is read.
 */
const ATTEMPTS = 4;

/**
 * A handshake over QUIC without client certificate: the hub has to present a chain to the stored CA, and to
 * say no.
 * @throws the transport's error when there is no handshake, or when it is let in
 */
export async function quicHandshake(
  patient: Patient,
  address: { host: string; port: number },
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await attemptHandshake(patient, address);
    } catch (error) {
      if (attempt >= ATTEMPTS || !isSallyportError(error, 'CONNECT_FAILED')) throw error;
    }
  }
}

async function attemptHandshake(
  patient: Patient,
  { host, port }: { host: string; port: number },
): Promise<void> {
  const { config, clock } = patient;
  const ca = storedIssuer(patient)?.pem;
  const hub = secretOf(patient, config.certificates.hubSecret);
  if (!ca || !hub) throw new Error('the CA is not known here');
  const serverName = namesOf(readHubCertificate(hub).leaf).find((name) => !/^[\d.]+$|:|\*/.test(name));
  const transport = new QuicTransport(
    { clock, logger: silentLogger },
    {
      address: `${host.includes(':') ? `[${host}]` : host}:${port}`,
      ...(serverName ? { serverName } : {}),
    },
  );
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  try {
    const link = await transport.connect(
      { node: 'sallyport-doctor', ca, certificate: '', key: '' },
      {
        projectId: 'doctor',
        agent: 'doctor',
        maxMessageBytes: 1024,
        connectTimeoutMs: TIMEOUT_MS,
        writeTimeoutMs: TIMEOUT_MS,
        signal,
      },
    );
    link.close(closeReason('Normal'));
  } catch (error) {
    if (isSallyportError(error, 'CONNECT_REFUSED')) return;
    throw error;
  }
  throw new SallyportError('SELF_TEST_FAILED', { listener: 'quic', probe: 'no certificate' });
}
