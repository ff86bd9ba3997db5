import { BackupMonitor } from '../backup/backup-monitor.ts';
import { EdgeCertificateIssuer } from '../certs/enrolment/edge-certificate-issuer.ts';
import { IssuanceLog } from '../certs/enrolment/issuance-log.ts';
import { RenewalGrace } from '../certs/enrolment/renewal-grace.ts';
import { TokenService } from '../certs/enrolment/token-service.ts';
import { CrlPublisher } from '../certs/revocation/crl-publisher.ts';
import type { RevocablePeer } from '../contracts/revocations.ts';
import { AdminGate } from '../identity/admin-gate.ts';
import { PeerGate } from '../identity/peer-gate.ts';
import type { Certificates } from './certificates.ts';
import type { GatewayWorld } from './gateway-world.ts';
import type { Messaging } from './messaging.ts';
import { composeRollover } from './rollover.ts';

export type Gate = ReturnType<typeof composeGate>;

/** Step 3: who is let in, and what with. */
export function composeGate(world: GatewayWorld, messaging: Messaging, certificates: Certificates) {
  const { config, clock, log, metrics } = world;
  const { store, events, current, revocations } = certificates;
  const shared = { clock, log, metrics };
  const isRevoked = (peer: RevocablePeer) => revocations.isRevoked(peer);
  const authority = () => current.authority();
  const trust = () => current.current().clientCAs;
  const tokens = new TokenService({ ...shared, store, events, authority }, () => config.current.tokens);
  return {
    peers: new PeerGate({ clock, trust, isRevoked }, () => config.current.identity),
    admins: new AdminGate({
      clock,
      cas: () => current.ownCas(),
      isRevoked: (certificate) => isRevoked({ ...certificate, nodeName: '' }),
    }),
    crl: new CrlPublisher({
      ...shared,
      authority,
      trusted: () => trust().map(({ sha256 }) => sha256),
      list: () => revocations.current,
    }),
    tokens,
    backups: new BackupMonitor(
      { ...shared, store, caSha256: () => current.current().ca.sha256 },
      { secret: config.current.certificates.backupSecret },
    ),
    issuer: composeIssuer(world, messaging, { ...certificates, tokens }),
    rollover: composeRollover(world, messaging, certificates),
  };
}

function composeIssuer(
  world: GatewayWorld,
  { hub }: Messaging,
  { current, events, revocations, history, tokens }: Certificates & { readonly tokens: TokenService },
): EdgeCertificateIssuer {
  const { config, clock, log, metrics, replica, audit: trail } = world;
  const trust = () => current.current().clientCAs;
  const isRevoked = (peer: RevocablePeer) => revocations.isRevoked(peer);
  const audit = new IssuanceLog(
    { log, events, trail, onIssued: (record) => history.certificateIssued(record) },
    { caSecret: config.current.certificates.caSecret },
  );
  const grace = new RenewalGrace(
    { clock, tokens, trust, isRevoked },
    config.view((now) => ({ ...now.certificates, ...now.identity })),
  );
  return new EdgeCertificateIssuer(
    {
      clock,
      log,
      metrics,
      authority: () => current.authority(),
      source: current,
      tokens,
      grace,
      isConnected: (node) => hub.isConnectedAnywhere(node),
      isNodeRevoked: (node) => revocations.isNodeRevoked(node),
      audit,
    },
    config.view((now) => ({ ...now.certificates, ...now.tokens, ...now.identity, replica })),
  );
}
