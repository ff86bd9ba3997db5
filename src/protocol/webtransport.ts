/** What hub and edge have to agree on for WebTransport; docs/protocol.md, section WebTransport. */
export const WEBTRANSPORT_PATH = '/edge';

/**
 * The largest value of a 32-bit HTTP/2 setting: the bytes one session may carry in each direction before it
 * has to be renewed.
 */
const MAX_SESSION_BYTES = 2 ** 32 - 1;
/**
 * How far a stream may be ahead of its reader. Unlike the session's, this window is renewed as the reader
 * reads.
 */
const STREAM_WINDOW_BYTES = 1024 * 1024;

/**
 * Flow control of `@fails-components/webtransport` over HTTP/2, the same on both sides. The library never
 * gives session credit back (1.6.8), so a session gets all it can get at once; one stream a session, because
 * stream numbers are not given back either.
 */
export const WEBTRANSPORT_WINDOWS = {
  initialSessionFlowControlWindow: MAX_SESSION_BYTES,
  sessionFlowControlWindowSizeLimit: MAX_SESSION_BYTES,
  initialStreamFlowControlWindow: STREAM_WINDOW_BYTES,
  streamFlowControlWindowSizeLimit: STREAM_WINDOW_BYTES,
  initialBidirectionalStreams: 1,
  initialUnidirectionalStreams: 1,
} as const;

/**
 * The HTTP/2 settings that announce these windows (draft-ietf-webtrans-http2, section 11.2, in the library's
 * numbers).
 */
export const WEBTRANSPORT_SETTINGS = {
  enableConnectProtocol: true,
  initialWindowSize: STREAM_WINDOW_BYTES,
  customSettings: {
    11105: MAX_SESSION_BYTES,
    11106: STREAM_WINDOW_BYTES,
    11107: STREAM_WINDOW_BYTES,
    11108: WEBTRANSPORT_WINDOWS.initialUnidirectionalStreams,
    11109: WEBTRANSPORT_WINDOWS.initialBidirectionalStreams,
  },
} as const;

export const WEBTRANSPORT_REMOTE_SETTINGS: readonly number[] = Object.keys(
  WEBTRANSPORT_SETTINGS.customSettings,
).map(Number);

/** The native package that HTTP/3 needs. */
export const HTTP3_PACKAGE = '@fails-components/webtransport-transport-http3-quiche';
