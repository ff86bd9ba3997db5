import type {
  CertificateIssuer,
  IssuedCertificate,
  IssueRequest,
} from '../../../src/contracts/certificate-issuer.ts';
import { type Clock, systemClock } from '../../../src/core/clock.ts';
import { HealthRegistry } from '../../../src/core/health.ts';
import { type Logger, silentLogger } from '../../../src/core/log.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { PeerGate } from '../../../src/identity/peer-gate.ts';
import { TicketBook } from '../../../src/identity/ticket-book.ts';
import { HttpsListener } from '../../../src/listeners/https/https-listener.ts';
import type { HttpsOptions } from '../../../src/listeners/https/options.ts';
import { closeReason } from '../../../src/protocol/close-reasons.ts';
import { type Call, call } from '../../support/edges/https-client.ts';
import { testTlsServer } from '../../support/edges/test-tls-server.ts';
import { freshSource } from '../../support/pki/fixed-source.ts';

/** Remembers what it was asked, and answers with fixed bytes or the error a test sets. */
export class RecordingIssuer implements CertificateIssuer {
  readonly requests: IssueRequest[] = [];
  failure: unknown;
  readonly validTokens = new Set<string>();

  async issue(request: IssueRequest): Promise<IssuedCertificate> {
    this.requests.push(request);
    if (this.failure) throw this.failure;
    return {
      der: Buffer.from('certificate of the issuer'),
      nodeName: 'edge-1',
      serial: '01',
      notAfter: new Date(0),
      how: 'token',
    };
  }

  async isTokenValid(token: string, node: string): Promise<boolean> {
    return this.validTokens.has(`${token} ${node}`);
  }
}

/** An HTTPS listener on a free port with real certificates, and a way to call it. */
export async function startHttps({
  options = {},
  clock = systemClock,
  log = silentLogger,
}: {
  options?: Partial<HttpsOptions>;
  clock?: Clock;
  log?: Logger;
} = {}) {
  const { ca, server: hub, source } = await freshSource();
  const issuer = new RecordingIssuer();
  const health = new HealthRegistry();
  const known = new Set<string>();
  const metrics = createMetrics({ process: false });
  const limits: HttpsOptions = {
    bodyBytes: 64 * 1024,
    requestTimeoutMs: 10_000,
    requestsPerMinutePerSource: 1000,
    requestsPerMinute: 10_000,
    ...options,
  };
  const gate = new PeerGate({ trust: () => source.current().clientCAs, clock: systemClock }, () => ({
    allowLegacy: false,
    legacyNodes: {},
  }));
  const tickets = new TicketBook({ clock, stillTrusted: (identity) => gate.stillTrusted(identity) });
  const server = testTlsServer({ name: 'https', source, log });
  const listener = new HttpsListener(
    {
      server,
      source,
      gate,
      issuer,
      tickets,
      health,
      isKnownNode: (node) => known.has(node),
      clock,
      log,
      metrics,
    },
    () => limits,
  );
  await listener.start();
  return {
    ca,
    hub,
    source,
    issuer,
    tickets,
    health,
    known,
    metrics,
    listener,
    get: (path: string, more: Partial<Call> = {}) => call({ to: listener.address(), ca, path, ...more }),
    [Symbol.asyncDispose]: () => listener.stop(closeReason('Draining'), AbortSignal.abort()),
  };
}
