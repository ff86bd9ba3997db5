import type { CertificateManager } from '../certs/certificate-manager.ts';
import type { RevocationService } from '../certs/revocation/revocation-service.ts';
import type { NodeEvidence } from '../certs/rollover/rollover-nodes.ts';
import { CaRolloverService } from '../certs/rollover/rollover-service.ts';
import type { LiveConfig } from '../config/live-config.ts';
import type { EventRecorder } from '../contracts/event-recorder.ts';
import type { NodeHistory } from '../contracts/node-history.ts';
import type { ReplicaBoard } from '../contracts/replica-board.ts';
import type { SecretStore } from '../contracts/secret-store.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { RenewalAsker } from '../hub/renewal-asker.ts';
import type { SessionHub } from '../hub/session-hub.ts';

export interface RolloverParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly config: LiveConfig;
  readonly replica: string;
  readonly store: SecretStore;
  readonly board: ReplicaBoard;
  readonly events: EventRecorder;
  readonly certificates: CertificateManager;
  readonly revocations: RevocationService;
  readonly hub: SessionHub;
  /** Nodes that are not connected here; without it only those that are count. */
  readonly history?: Pick<NodeHistory, 'list'>;
}

/** The CA rollover, with what is known of the fleet as its evidence. */
export function composeRollover(parts: RolloverParts): CaRolloverService {
  const { config, hub, replica } = parts;
  const asker = new RenewalAsker({ clock: parts.clock, log: parts.log, hub });
  return new CaRolloverService(
    {
      ...parts,
      nodes: () => evidenceOf(parts),
      ask: (issuerSha256) => asker.ask(issuerSha256, 'ca-rollover'),
    },
    config.view(({ certificates }) => ({ ...certificates, replica })),
  );
}

/** What the history says, and of nodes with a session here what is certain. */
function evidenceOf({ hub, history, revocations }: RolloverParts): NodeEvidence[] {
  const revoked = (node: string) => (revocations.isNodeRevoked(node) === undefined ? {} : { revoked: true });
  const known = new Map<string, NodeEvidence>();
  for (const { node, certificate, firstSeen, lastSeen } of history?.list() ?? [])
    known.set(node, {
      node,
      serial: certificate.serial,
      issuerSha256: certificate.issuerSha256,
      notAfter: Date.parse(certificate.notAfter),
      firstSeen: Date.parse(firstSeen),
      ...(lastSeen === undefined ? {} : { lastSeen: Date.parse(lastSeen) }),
      connected: false,
      ...revoked(node),
    });
  for (const { node, agent, lastHeard, connectedSince } of hub.list()) {
    const certificate = hub.identityOf(node)?.certificate;
    if (!certificate) continue;
    const { serial, issuerSha256, notAfter } = certificate;
    known.set(node, {
      firstSeen: Date.parse(connectedSince),
      ...known.get(node),
      node,
      serial,
      issuerSha256,
      notAfter,
      lastSeen: Date.parse(lastHeard),
      connected: true,
      ...(agent === undefined ? {} : { agent }),
      ...revoked(node),
    });
  }
  return [...known.values()];
}
