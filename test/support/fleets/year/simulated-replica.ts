import { CertificateManager } from '../../../../src/certs/certificate-manager.ts';
import { CurrentCertificates } from '../../../../src/certs/current-certificates.ts';
import { EdgeCertificateIssuer } from '../../../../src/certs/enrolment/edge-certificate-issuer.ts';
import { IssuanceLog } from '../../../../src/certs/enrolment/issuance-log.ts';
import { RenewalGrace } from '../../../../src/certs/enrolment/renewal-grace.ts';
import { TokenService } from '../../../../src/certs/enrolment/token-service.ts';
import { prepareAllCerts } from '../../../../src/certs/prepare-all-certs.ts';
import { RevocationService } from '../../../../src/certs/revocation/revocation-service.ts';
import { CaRolloverService } from '../../../../src/certs/rollover/rollover-service.ts';
import type { RevocablePeer } from '../../../../src/contracts/revocations.ts';
import type { Clock } from '../../../../src/core/clock.ts';
import { silentLogger } from '../../../../src/core/log.ts';
import { createMetrics } from '../../../../src/core/metrics.ts';
import { SecretReplicaBoard } from '../../../../src/fleet/secret-replica-board.ts';
import { NodeHistoryService } from '../../../../src/history/node-history-service.ts';
import { PeerGate } from '../../../../src/identity/peer-gate.ts';
import type { MemorySecretStore } from '../../../fakes/memory-secret-store.ts';
import { certificateOptions } from '../../pki/cert-options.ts';

export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

/** Certificates are short-lived in this fleet, so that a year holds many renewals. */
export const POLICY = {
  ...certificateOptions,
  hubDays: 60,
  edgeDays: 90,
  graceDays: 30,
  allowServerAuth: false,
  checkMs: 6 * HOUR_MS,
  fleetSecret: 'tokensecret',
  stateSecret: 'sallyport-tokens',
  fleetTtlMs: 7 * 24 * HOUR_MS,
  nodeTtlMs: HOUR_MS,
  acceptFleet: true,
  acceptKubeEdge: true,
  allowReplaceConnected: false,
  allowLegacy: false,
  legacyNodes: {},
} as const;

export interface ReplicaWorld {
  readonly store: MemorySecretStore;
  readonly clock: Clock;
  readonly random: () => number;
  readonly isConnected: (node: string) => boolean;
  /** Asks nodes with certificates of this CA to renew. */
  readonly ask: (issuerSha256: string) => number;
}

export type SimulatedReplica = Awaited<ReturnType<typeof startReplica>>;

/**
 * A gateway without listeners and sessions: all that decides about certificates, put together as the
 * gateway does.
 */
export async function startReplica(
  replica: string,
  { store, clock, random, isConnected, ask }: ReplicaWorld,
) {
  const metrics = createMetrics({ process: false });
  const shared = { store, clock, log: silentLogger, metrics };
  const { signal } = new AbortController();
  const options = { certificates: POLICY, addresses: ['hub.example.com'] };

  const board = new SecretReplicaBoard(shared, () => ({ secret: 'sallyport-replicas', replica }));
  const revocations = new RevocationService({ ...shared, board }, () => ({
    secret: 'sallyport-revocations',
    backdateMs: POLICY.backdateMs,
  }));
  const prepared = await prepareAllCerts(shared, options, signal);
  await revocations.load(signal);
  const { snapshot } = prepared;
  const certificates = new CurrentCertificates(prepared);
  const manager = new CertificateManager({ ...shared, current: certificates, snapshot }, options);
  const isRevoked = (peer: RevocablePeer) => revocations.isRevoked(peer);
  const isNodeRevoked = (node: string) => revocations.isNodeRevoked(node);
  const trust = () => certificates.current().clientCAs;
  const authority = () => certificates.authority();
  const gate = new PeerGate({ clock, trust, isRevoked }, () => POLICY);
  const tokens = new TokenService({ ...shared, authority }, () => POLICY);
  certificates.onChange((next, previous) => {
    if (next.ca.sha256 !== previous.ca.sha256) tokens.caChanged();
  });
  const history = new NodeHistoryService({ ...shared, isNodeRevoked, random }, () => ({
    secret: 'sallyport-history',
    maxShards: 16,
    replica,
    syncMs: 6 * HOUR_MS,
    graceDays: POLICY.graceDays,
    edgeDays: POLICY.edgeDays,
  }));
  const issuer = new EdgeCertificateIssuer(
    {
      ...shared,
      authority,
      source: certificates,
      tokens,
      grace: new RenewalGrace({ clock, tokens, trust, isRevoked }, () => POLICY),
      isConnected,
      isNodeRevoked,
      audit: new IssuanceLog({
        log: silentLogger,
        onIssued: (record) => history.certificateIssued(record),
      }),
    },
    () => ({ ...POLICY, replica }),
  );
  const rollover = new CaRolloverService(
    {
      ...shared,
      board,
      current: certificates,
      manager,
      fleet: {
        nodes: () =>
          history
            .list()
            .map(
              ({ node, certificate, issued, firstSeen, joinedAt = firstSeen, lastSeen, connectedHere }) => ({
                node,
                serial: (issued ?? certificate).serial,
                issuerSha256: (issued ?? certificate).issuerSha256,
                notAfter: Date.parse((issued ?? certificate).notAfter),
                joinedAt: Date.parse(joinedAt),
                ...(lastSeen === undefined ? {} : { lastSeen: Date.parse(lastSeen) }),
                connected: connectedHere,
                ...(isNodeRevoked(node) === undefined ? {} : { revoked: true }),
              }),
            ),
        forgotten: () => history.forgotten(),
        recall: () => history.recall(),
      },
      ask,
    },
    () => ({ ...POLICY, replica }),
  );

  const components = [board, manager, revocations, history, tokens, rollover];
  for (const component of components) await component.start(signal);
  return {
    replica,
    certificates,
    revocations,
    gate,
    tokens,
    history,
    issuer,
    rollover,
    async [Symbol.asyncDispose]() {
      for (const component of components.toReversed()) await component.stop(signal);
    },
  };
}
