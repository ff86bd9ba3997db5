import { readHubCertificate } from '../../certs/bundle/hub-certificate.ts';
import { namesOf } from '../../certs/x509/certificate-names.ts';
import { quicHandshake } from '../../listeners/quic/quic-handshake.ts';
import { ProbeClients } from '../../selfcheck/probe-clients.ts';
import { type Patient, secretOf } from './patient.ts';
import { storedCas } from './stored-cas.ts';

const TIMEOUT_MS = 5_000;

/**
 * A handshake over QUIC: the hub has to present a chain to the stored CA. The client certificate is made for
 * this handshake with the key of that CA, as the gateway makes its own; without one the gateway would have to
 * tell of a stranger.
 * @throws what an edge would say when there is no handshake
 */
export async function probeQuic(patient: Patient, address: { host: string; port: number }): Promise<void> {
  const { config, clock } = patient;
  const authority = storedCas(patient)?.roles.issuing;
  const hub = secretOf(patient, config.certificates.hubSecret);
  if (!authority || !hub) throw new Error('the CA is not known here');
  const name = namesOf(readHubCertificate(hub).leaf).find((one) => !/^[\d.]+$|:|\*/.test(one));
  const client = await new ProbeClients({ clock }).of(authority);
  await quicHandshake({
    ...address,
    // The library checks DNS names only; with an address alone the handshake is what is tried.
    name: name ?? address.host,
    ca: authority.certificate.pem,
    client,
    timeoutMs: TIMEOUT_MS,
  });
}
