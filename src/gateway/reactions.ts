import { describeError } from '../core/errors.ts';
import type { Unsubscribe } from '../core/property.ts';
import type { Certificates } from './certificates.ts';
import type { GatewayParts } from './doors.ts';
import type { GatewayWorld } from './gateway-world.ts';

/**
 * What identities are accepted: the hub asks from the first session on, and again after each change. A new CA
 * has a token of its own.
 */
export function followTrust({ messaging, certificates, gate }: GatewayParts): Unsubscribe[] {
  const { current, revocations } = certificates;
  const applyTrust = () => messaging.hub.applyTrust((identity) => gate.peers.stillTrusted(identity));
  applyTrust();
  return [
    current.onChange((next, previous) => {
      if (next.ca.sha256 !== previous.ca.sha256) gate.tokens.caChanged();
      applyTrust();
    }),
    revocations.onChange(() => applyTrust()),
  ];
}

/** Who has to know that a session begins or ends. */
export function followSessions(
  { audit }: GatewayWorld,
  { messaging, certificates, doors }: GatewayParts,
): Unsubscribe[] {
  const { history, revocations } = certificates;
  const { swapWatch } = doors.recovery;
  return [
    messaging.hub.subscribe((event) => {
      if (event.type === 'begun') {
        history.nodeConnected(event.peer, event.transport);
        swapWatch.nodeConnected(event.peer.nodeName, event.remoteAddress);
      } else if (event.type === 'ended') {
        history.nodeDisconnected(event.node);
        swapWatch.nodeDisconnected(event.node);
      } else {
        const { peer, sessionId, transport, reason } = event;
        const { nodeName, certificate } = peer;
        audit.record({
          action: 'session-shut-out',
          who: 'gateway',
          why: reason.text,
          node: nodeName,
          facts: { transport, session: sessionId, serial: certificate.serial },
        });
        revocations.sessionEnded({ peer: { ...certificate, nodeName }, sessionId, transport });
      }
    }),
  ];
}

/** What changes while it runs, besides the settings that are looked up each time. */
export function followSettings({ config, log }: GatewayWorld, { manager }: Certificates): Unsubscribe[] {
  return [
    config.onChange((next, previous) => {
      if (next.log.level !== previous.log.level) log.level = next.log.level;
      manager.setLifetimes(next.certificates);
      manager.setAddresses(next.advertise.addresses).catch((error) => {
        log.error({ problem: describeError(error) }, 'the new addresses are not served yet');
      });
    }),
  ];
}
