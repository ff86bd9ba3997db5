import type { QuicServerSession } from '@currentspace/http3';
import type { PeerGate } from '../../identity/peer-gate.ts';
import { FramedOpening, type FramedOpeningComponents } from '../framed/framed-opening.ts';
import type { QuicListenerOptions } from './options.ts';
import { QuicSession, type QuicSessionOptions } from './quic-session.ts';

export interface QuicOpeningComponents
  extends Omit<FramedOpeningComponents, 'session' | 'identify' | 'carry'> {
  readonly session: QuicServerSession;
  readonly gate: Pick<PeerGate, 'check'>;
}

/** Begins the opening of a session; one with a bad certificate is refused at once. */
export function beginQuicOpening(
  components: QuicOpeningComponents,
  options: QuicListenerOptions,
  facts: Pick<QuicSessionOptions, 'remoteAddress' | 'startedAt'>,
): FramedOpening {
  const { gate } = components;
  const session = new QuicSession(components, { ...options, ...facts });
  const opening = new FramedOpening(
    {
      ...components,
      session,
      identify: (claimedNode) => session.identify(gate, claimedNode),
      carry: (connection) => session.carry(connection),
    },
    { ...options, transport: 'quic', messagesOnControl: false },
  );
  opening.begin();
  const verdict = session.identify(gate, undefined);
  // A certificate that names no node may still be let in by the name in the hello.
  if (!verdict.ok && verdict.reason !== 'legacy-certificate') opening.refuse(verdict);
  return opening;
}
