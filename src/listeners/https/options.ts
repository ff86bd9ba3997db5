/**
 * What the HTTPS listener can be told; the composition root maps the configuration to it. Read anew for each
 * request.
 */
export interface HttpsOptions {
  /** Largest request body, bytes (requirement D8). */
  readonly bodyBytes: number;
  /** Time in which a request body must be complete, milliseconds (D8). */
  readonly requestTimeoutMs: number;
  /**
   * Requests a minute of one source (an address, or a node with an accepted certificate), each route by
   * itself, `/ca.crt` ten times as many (D10).
   */
  readonly requestsPerMinutePerSource: number;
  /** Requests a minute in all, each route by itself (D10). */
  readonly requestsPerMinute: number;
}
