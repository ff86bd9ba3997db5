import type { NodeEvidence } from '../certs/rollover/rollover-nodes.ts';
import { CaRolloverService } from '../certs/rollover/rollover-service.ts';
import { RenewalAsker } from '../hub/renewal-asker.ts';
import type { Certificates } from './certificates.ts';
import type { GatewayWorld } from './gateway-world.ts';
import type { Messaging } from './messaging.ts';

/** The CA rollover, with what is known of the fleet as its evidence. */
export function composeRollover(
  world: GatewayWorld,
  { hub }: Messaging,
  certificates: Certificates,
): CaRolloverService {
  const { config, clock, log, metrics, replica } = world;
  const { current, manager, board, store, events } = certificates;
  const asker = new RenewalAsker({ clock, log, hub });
  return new CaRolloverService(
    {
      clock,
      log,
      metrics,
      store,
      board,
      events,
      current,
      manager,
      fleet: {
        nodes: () => evidenceOf(hub, certificates),
        forgotten: () => certificates.history.forgotten(),
        recall: () => certificates.history.recall(),
      },
      ask: (issuerSha256) => asker.ask(issuerSha256, 'ca-rollover'),
    },
    config.view((now) => ({ ...now.certificates, replica })),
  );
}

/** What the history says, and of nodes with a session here what is certain. */
function evidenceOf(hub: Messaging['hub'], { history, revocations }: Certificates): NodeEvidence[] {
  const revoked = (node: string) => (revocations.isNodeRevoked(node) === undefined ? {} : { revoked: true });
  const known = new Map<string, NodeEvidence>();
  for (const [node, { certificate, firstSeen, joinedAt = firstSeen, lastSeen }] of history.known())
    known.set(node, {
      node,
      serial: certificate.serial,
      issuerSha256: certificate.issuerSha256,
      notAfter: certificate.notAfter,
      joinedAt,
      ...(lastSeen === undefined ? {} : { lastSeen }),
      connected: false,
      ...revoked(node),
    });
  for (const { node, agent, lastHeard, connectedSince } of hub.list()) {
    const certificate = hub.identityOf(node)?.certificate;
    if (!certificate) continue;
    const { serial, issuerSha256, notAfter } = certificate;
    known.set(node, {
      joinedAt: Date.parse(connectedSince),
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
