import { ERRORS } from '../core/error-table.ts';
import type { ErrorCode } from '../core/errors.ts';
import { CLOSE_REASONS, type CloseReasonName } from './close-reasons.ts';

/**
 * Every word that says why somebody was not let in: the one source for answer headers, close texts, logs,
 * metric labels, `nodes rejected` and docs/errors.md. `fix` is for the operator who reads the word.
 */
interface ReasonDefinition {
  readonly meaning: string;
  readonly fix: string;
  /**
   * A hub certificate can be the cause, as the client's alerts and conduct tell it (RFC 8446 §6.2). Of a
   * peer's reasons: over QUIC alone, where an alert of the client looks like one of the hub.
   */
  readonly blamesHub?: true;
}

interface PeerReasonDefinition extends ReasonDefinition {
  /** Tells the edge what to do about it. */
  readonly close: CloseReasonName;
  /** TLS alerts (RFC 8446 §6) by which QUIC's library says it: it verifies the chain before the gate can. */
  readonly alerts?: readonly number[];
}

/**
 * What is wrong with a client certificate, or with what is said beside it; told to the edge on every
 * transport.
 */
export const PEER_REASONS = {
  'no-certificate': {
    meaning: 'the client sent none',
    fix: "connect with the certificate of the node; Go clients send none when no CA of the hub's list issued theirs",
    close: 'Unauthenticated',
    alerts: [116],
  },
  'malformed-certificate': {
    meaning: 'it cannot be read, or its subject is not one a node certificate has',
    fix: 'join again',
    close: 'Unauthenticated',
    alerts: [42, 46],
    blamesHub: true,
  },
  'unknown-ca': {
    meaning: 'no trusted CA issued it; the facts say which CAs are expected',
    fix: 'compare the CA of the edge with `sallyport certs list`; a node of another hub, or of a CA that was lost, has to join again',
    // 51: the signature does not verify, a CA of the same name with another key.
    close: 'TrustRemoved',
    alerts: [48, 51],
    blamesHub: true,
  },
  expired: {
    meaning: "its validity has ended; the facts say since when, and the hub's time",
    fix: 'renew within the grace (certificates.graceDays), or join again; compare clocks',
    // Also a certificate that is not valid yet.
    close: 'CertificateExpired',
    alerts: [45],
    blamesHub: true,
  },
  'not-yet-valid': {
    meaning: "its validity has not begun; the facts say when it does, and the hub's time",
    fix: 'compare the clocks of node and hub',
    // Only time helps: the clock of one side is wrong.
    close: 'TryAgainLater',
  },
  'wrong-usage': {
    meaning: 'it has no extended key usage clientAuth, or is a CA',
    fix: 'join again',
    close: 'Unauthenticated',
    alerts: [43],
    blamesHub: true,
  },
  'wrong-key-usage': {
    meaning: 'its key usage lacks digitalSignature',
    fix: 'join again',
    close: 'Unauthenticated',
  },
  'weak-signature': {
    meaning: 'it, or a CA it came with, is signed with MD5, SHA-1 or an algorithm that is not supported',
    fix: 'let the CA sign with SHA-256 or better, and join again',
    close: 'Unauthenticated',
  },
  'unsupported-key': {
    meaning: 'its key is of a kind or a size that costs too much to verify, or the certificate is too large',
    fix: 'join again with EC P-256, P-384, P-521, Ed25519, or RSA of at most 4096 bits',
    close: 'Unauthenticated',
  },
  'unknown-extension': {
    meaning: 'it has a critical extension that the hub does not know',
    fix: 'have it issued without the extension',
    close: 'Unauthenticated',
  },
  'no-node-name': { meaning: 'it names no node', fix: 'join again', close: 'Unauthenticated' },
  'legacy-certificate': {
    meaning: 'it is of an old KubeEdge fleet and names no node',
    fix: 'join again, or map it with `identity.legacyNodes`',
    close: 'Unauthenticated',
  },
  revoked: {
    meaning: 'certificate or node is revoked',
    fix: 'see `sallyport revocations list`; `sallyport lift NODE` lets it in again',
    close: 'Revoked',
    alerts: [44],
  },
  quarantined: {
    meaning: 'the node is quarantined; it asks again by itself',
    fix: 'see `sallyport revocations list`; `sallyport lift NODE` lets it in again',
    close: 'Quarantined',
  },
  'node-mismatch': {
    meaning: 'the request names another node than the certificate',
    fix: 'correct the node name of the edge',
    close: 'NodeMismatch',
  },
  'ticket-refused': {
    meaning: 'the ticket for WebTransport is used, late, or not of this hub',
    fix: 'ask for a new one at `POST /webtransport/ticket`, on the same replica',
    // A new ticket is what helps.
    close: 'TryAgainLater',
  },
  protocol: {
    meaning: 'what came is no TLS, no valid upgrade or no valid header',
    fix: 'see docs/protocol.md, and check which protocol is spoken on this port',
    close: 'ProtocolError',
  },
} as const satisfies Record<string, PeerReasonDefinition>;

/** Why there was no TLS session; nobody can be told but by a TLS alert. */
export const HANDSHAKE_REASONS = {
  'client-unknown-ca': {
    meaning: 'the client does not know the CA of the hub certificate (TLS alert)',
    fix: 'the client does not know the CA of the hub certificate: it joined another hub, or before the CA was replaced; let it join again',
    blamesHub: true,
  },
  'client-bad-certificate': {
    meaning: 'the client refuses the hub certificate (TLS alert)',
    fix: 'the client refuses the hub certificate, most often because the name or address it uses is not among the names served; add it to advertise.addresses',
    blamesHub: true,
  },
  'client-certificate-expired': {
    meaning: 'for the client the hub certificate is out of date (TLS alert)',
    fix: 'for the clock of the client the hub certificate has expired or is not valid yet; compare the clocks',
    blamesHub: true,
  },
  'client-alert': {
    meaning: 'the client ended the handshake with another TLS alert',
    fix: 'the log of the client says why it ended the handshake',
    blamesHub: true,
  },
  'plain-http': {
    meaning: 'the client speaks HTTP without TLS',
    fix: 'the client speaks plain HTTP; use https or wss',
  },
  'kubeedge-quic': {
    meaning: "the client speaks KubeEdge's QUIC of 2019 (gQUIC), which the standard has replaced",
    fix: "EdgeCore speaks its own old QUIC; in the node's edgecore.yaml set edgeHub.websocket.enable to true and edgeHub.quic.enable to false",
  },
  'no-common-tls': {
    meaning: 'no TLS version, suite or group in common',
    fix: 'the client offers no TLS 1.2 or 1.3 with AEAD suites, or none of the groups; update it, or see tls.minVersion, tls.ciphers and tls.groups',
    blamesHub: true,
  },
  disconnected: {
    meaning: 'the client was gone in the middle of the handshake',
    fix: 'the client closed the connection during the handshake; its log may say why',
    // Clients that verify only after the handshake, as Node's do, leave without a word.
    blamesHub: true,
  },
  timeout: {
    meaning: 'the handshake or request was not complete in time',
    fix: 'look for packet loss and for a balancer that holds connections open; see limits.handshakeTimeoutMs',
  },
  'proxy-protocol': {
    meaning: 'a balancer that has to send a PROXY header sends none',
    fix: 'the balancer is in limits.proxyProtocolFrom but sends no PROXY header; switch it on there or take the address out',
  },
} as const satisfies Record<string, ReasonDefinition>;

/** Why somebody with a good certificate or token is no administrator. */
export const ADMIN_REASONS = {
  'not-admin': {
    meaning: 'the certificate is good, and no administrator’s',
    fix: ERRORS.FORBIDDEN.fix,
  },
  'not-operator': { meaning: 'a viewer wanted to change something', fix: ERRORS.OPERATOR_NEEDED.fix },
  'bearer-unknown': { meaning: 'the cluster does not know the bearer token', fix: ERRORS.BEARER_REFUSED.fix },
  'bearer-forbidden': {
    meaning: 'the owner of the bearer token may not do this',
    fix: ERRORS.BEARER_FORBIDDEN.fix,
  },
  'bearer-unavailable': {
    meaning: 'the cluster could not be asked about the bearer token',
    fix: ERRORS.BEARER_UNAVAILABLE.fix,
  },
} as const satisfies Record<string, ReasonDefinition>;

type Kebab<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Lowercase<Head>}-${Kebab<Tail>}`
  : Lowercase<S>;

/**
 * A request that is refused for something else than its certificate: the error code in the form of the other
 * words, `token-expired`.
 */
export type RequestReason = Kebab<ErrorCode>;

export type PeerReason = keyof typeof PEER_REASONS;
export type HandshakeReason = keyof typeof HANDSHAKE_REASONS;
export type AdminReason = keyof typeof ADMIN_REASONS;
/** Close reasons are words too: a node that is kept out by a limit is told one. */
export type RejectionReason = PeerReason | HandshakeReason | AdminReason | RequestReason | CloseReasonName;

const WORDS: Readonly<Record<string, ReasonDefinition>> = {
  ...PEER_REASONS,
  ...HANDSHAKE_REASONS,
  ...ADMIN_REASONS,
};

const peerReasons = Object.entries(PEER_REASONS) as [PeerReason, PeerReasonDefinition][];
const BY_ALERT: ReadonlyMap<number, PeerReason> = new Map(
  peerReasons.flatMap(([word, { alerts = [] }]) => alerts.map((alert) => [alert, word] as const)),
);

/**
 * Why a handshake failed, from the QUIC error code 0x100 + TLS alert (RFC 9001 §4.8). Undefined for other
 * codes.
 */
export function refusalOfAlert(code: number): PeerReason | undefined {
  return BY_ALERT.get(code - 0x100);
}

/** Close reasons by which a hub refuses an edge it knows, before there is a connection. */
const LIMITS = [
  'Draining',
  'Disconnected',
  'Flapping',
  'InternalError',
  'Rebalance',
  'TryAgainLater',
] as const satisfies CloseReasonName[];
const REFUSING: ReadonlySet<string> = new Set([...LIMITS, ...peerReasons.map(([, { close }]) => close)]);

/** What the word of a refusal tells the edge to do; undefined for a word that no hub refuses with. */
export function closeOfRefusal(word: string): CloseReasonName | undefined {
  if (Object.hasOwn(PEER_REASONS, word)) return PEER_REASONS[word as PeerReason].close;
  return REFUSING.has(word) ? (word as CloseReasonName) : undefined;
}

/** HTTP status of a refused edge. 401: another certificate or ticket would help; 403: it would not. */
export function refusalStatus(reason: PeerReason): 401 | 403 {
  const { close } = PEER_REASONS[reason];
  return close === 'Quarantined' || CLOSE_REASONS[close].retry === 'never' ? 403 : 401;
}

/** Whether a hub certificate can be the cause of a refusal with this word, at a listener with this TLS. */
export function blamesHub(reason: string, tls: 'node' | 'quic-library'): boolean {
  const table: Readonly<Record<string, ReasonDefinition>> = tls === 'node' ? HANDSHAKE_REASONS : PEER_REASONS;
  return Object.hasOwn(table, reason) && table[reason]!.blamesHub === true;
}

/** The word of an error code; two have one of their own among the peer's reasons. */
export function reasonOfCode(code: ErrorCode): RequestReason | PeerReason {
  if (code === 'NODE_REVOKED') return 'revoked';
  if (code === 'NODE_QUARANTINED') return 'quarantined';
  return code.toLowerCase().replaceAll('_', '-') as RequestReason;
}

/** What an operator can do about it; undefined for a word that is not ours. */
export function fixOf(reason: string): string | undefined {
  if (Object.hasOwn(WORDS, reason)) return WORDS[reason]!.fix;
  const code = reason.toUpperCase().replaceAll('-', '_');
  if (Object.hasOwn(ERRORS, code)) return ERRORS[code as ErrorCode].fix;
  if (!Object.hasOwn(CLOSE_REASONS, reason)) return undefined;
  const peerReason = peerReasons.find(([, { close }]) => close === reason)?.[1];
  return LIMIT_FIX[reason] ?? peerReason?.fix ?? CLOSE_REASONS[reason as CloseReasonName].text;
}

const LIMIT_FIX: Readonly<Record<string, string>> = {
  TryAgainLater: 'raise hub.nodeLimit or add a replica',
  Flapping:
    'two devices seem to use one certificate: find the copy, revoke the certificate and join both again',
};
