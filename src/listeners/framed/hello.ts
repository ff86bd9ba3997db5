import type { EdgeAcceptor } from '../../contracts/edge-connection.ts';
import type { NodeIdentity, Refusal, Verdict } from '../../identity/node-identity.ts';
import { type CloseReason, closeReason } from '../../protocol/close-reasons.ts';
import { FRAME_TYPES, type Frame } from '../../protocol/codec-framed.ts';
import type { TransportName } from '../../protocol/listener-names.ts';
import { encodeFacts } from '../../protocol/peer-facts.ts';
import { type Hello, parseHello, refusalText } from '../../protocol/quic-control.ts';
import { PEER_REASONS } from '../../protocol/rejection-reasons.ts';
import { protocolRefusal } from '../refusals.ts';

/** A limit of the hub that keeps a good edge out. */
export interface HelloLimit {
  readonly node: string;
  readonly close: CloseReason;
  readonly detail: string;
}

/** What becomes of a hello. `code` and `text` end the connection. */
export type HelloOutcome =
  | { readonly ok: true; readonly hello: Hello; readonly identity: NodeIdentity }
  | {
      readonly ok: false;
      readonly code: number;
      readonly text: string;
      /** Why, when it was not a limit of the hub. */
      readonly refusal?: Refusal;
      /** Undefined when it was not a limit of the hub. */
      readonly limit?: HelloLimit;
    };

export interface HelloSteps {
  readonly transport: TransportName;
  /** The gate's verdict; `claimedNode` matters for certificates that name no node. */
  identify(claimedNode: string): Verdict;
  readonly acceptor: Pick<EdgeAcceptor, 'admit'>;
}

/**
 * The opening of every framed transport: the first frame is a hello → the gate accepts the peer → the hello
 * names the node of the certificate → the hub admits it.
 * @throws MESSAGE_INVALID when the hello cannot be read
 */
export function judgeHello(frame: Frame, { transport, identify, acceptor }: HelloSteps): HelloOutcome {
  if (frame.type !== FRAME_TYPES.hello) return refused(protocolRefusal('the first frame is not a hello'));
  const hello = parseHello(frame.payload);
  const verdict = identify(hello.node_id);
  if (!verdict.ok) return refused(verdict);
  const { identity } = verdict;
  if (hello.node_id !== identity.nodeName)
    return refused({
      ok: false,
      reason: 'node-mismatch',
      detail: `the certificate belongs to node ${identity.nodeName}, the hello names another`,
      claimedNode: identity.nodeName,
      nodeVerified: true,
    });
  const admission = acceptor.admit(identity, transport);
  if (admission.ok) return { ok: true, hello, identity };
  const { close, detail, retryAfterMs } = admission;
  return {
    ok: false,
    code: close.code,
    text: refusalText(close.name, 'limit', detail, retryAfterMs),
    limit: { node: identity.nodeName, close, detail },
  };
}

/** How a refusal ends a connection: code and text for the edge. */
export function refused(refusal: Refusal): HelloOutcome & { ok: false; refusal: Refusal } {
  const name = PEER_REASONS[refusal.reason].close;
  const told = encodeFacts(refusal.facts);
  const text = refusalText(name, refusal.reason, told ? `${refusal.detail} [${told}]` : refusal.detail);
  return { ok: false, code: closeReason(name).code, text, refusal };
}
