/**
 * `@sallyport/sdk`, and `sallyport/sdk` of the whole package: everything a program on an edge node needs. The
 * version of Node is checked before anything that an old one could trip over.
 */
import './supported-node.ts';

export type { Clock } from '../core/clock.ts';
export { type ErrorCode, isSallyportError, SallyportError } from '../core/errors.ts';
export type { CloseReason, CloseReasonName } from '../protocol/close-reasons.ts';
export { Content } from '../protocol/content.ts';
export type { TransportName } from '../protocol/listener-names.ts';
export { createMessage, createResponse, Message } from '../protocol/message.ts';
export { CredentialStore } from './credential-store.ts';
export { EdgeClient, type JoinOptions, type RequestOptions } from './edge-client.ts';
export type { EdgeClientComponents, EdgeClientOptions, HubAddresses } from './edge-client-options.ts';
export type { EdgeEventHandler, EdgeEvents } from './edge-events.ts';
export type { MessageDraft } from './message-draft.ts';
export { AutoTransport, type AutoTransportOptions } from './transports/auto-transport.ts';
export { QuicTransport, type QuicTransportOptions } from './transports/quic-transport.ts';
export type {
  ConnectOptions,
  EdgeCredentials,
  EdgeLink,
  EdgeLinkHandler,
  EdgeTransport,
  TransportComponents,
} from './transports/transport.ts';
export { WebSocketTransport, type WebSocketTransportOptions } from './transports/websocket-transport.ts';
