import type { X509Certificate } from 'node:crypto';
import { CertificateAuthority } from '../../../src/certs/ca/certificate-authority.ts';
import {
  EdgeCertificateIssuer,
  type IssuerOptions,
} from '../../../src/certs/enrolment/edge-certificate-issuer.ts';
import { IssuanceLog } from '../../../src/certs/enrolment/issuance-log.ts';
import { RenewalGrace } from '../../../src/certs/enrolment/renewal-grace.ts';
import { TokenService, type TokenServiceOptions } from '../../../src/certs/enrolment/token-service.ts';
import type { IssueRequest } from '../../../src/contracts/certificate-issuer.ts';
import { SallyportError } from '../../../src/core/errors.ts';
import type { Logger } from '../../../src/core/log.ts';
import { createMetrics, type Metrics } from '../../../src/core/metrics.ts';
import { createLogger } from '../../../src/core/pino-log.ts';
import { PeerGate } from '../../../src/identity/peer-gate.ts';
import type { ShutOut } from '../../../src/identity/revocation-reasons.ts';
import { ManualClock, settle } from '../../fakes/manual-clock.ts';
import { MemorySecretStore } from '../../fakes/memory-secret-store.ts';
import { makeCsr } from './csr.ts';
import { bundleOf, FixedSource } from './fixed-source.ts';
import { mintCa, mintServer, type Pair } from './pki.ts';

export const DAY_MS = 86_400_000;
export const HOUR_MS = 3_600_000;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Settings = Mutable<
  Omit<IssuerOptions, 'replica'> & TokenServiceOptions & { graceDays: number; allowLegacy: boolean }
>;

const DEFAULTS: Settings = {
  edgeDays: 365,
  backdateMs: HOUR_MS,
  allowServerAuth: false,
  allowReplaceConnected: false,
  allowLegacy: false,
  legacyNodes: {},
  graceDays: 30,
  fleetSecret: 'tokensecret',
  stateSecret: 'sallyport-tokens',
  fleetTtlMs: DAY_MS,
  nodeTtlMs: HOUR_MS,
  acceptFleet: true,
  acceptKubeEdge: true,
};

/** One CA, one store, one clock; and as many replicas upon them as a test wants. */
export class EnrolmentWorld {
  readonly clock: ManualClock;
  readonly store = new MemorySecretStore();
  readonly lines: string[] = [];
  readonly log: Logger = createLogger({
    level: 'trace',
    format: 'json',
    destination: { write: (line: string) => this.lines.push(line) },
  });
  readonly ca: Pair;
  readonly server: Pair;
  readonly source: FixedSource;
  readonly authority: CertificateAuthority;
  readonly connected = new Set<string>();
  readonly settings: Settings;
  readonly revoked = new Set<string>();
  readonly shutOut = new Map<string, ShutOut>();
  readonly #started: TokenService[] = [];
  /** While true, every access to the store fails. */
  storeDown = false;

  private constructor(
    parts: { ca: Pair; server: Pair; authority: CertificateAuthority; clock: ManualClock },
    settings: Partial<Settings>,
  ) {
    this.ca = parts.ca;
    this.server = parts.server;
    this.source = new FixedSource(bundleOf(parts));
    this.authority = parts.authority;
    this.clock = parts.clock;
    this.settings = { ...DEFAULTS, ...settings };
    this.store.fault = () => {
      if (this.storeDown) throw new SallyportError('SECRET_STORE_UNAVAILABLE', { problem: 'test' });
    };
  }

  static async create(settings: Partial<Settings> = {}): Promise<EnrolmentWorld> {
    const ca = await mintCa({ notBefore: new Date(Date.now() - 1000 * DAY_MS) });
    const server = await mintServer(ca);
    const cakeydata = ca.privateKey.export({ type: 'sec1', format: 'der' });
    const secret = { name: 'casecret', data: { cadata: ca.der, cakeydata } };
    const clock = new ManualClock(Math.floor(Date.now() / 1000) * 1000);
    const authority = CertificateAuthority.fromSecret(secret, { clock });
    return new EnrolmentWorld({ ca, server, authority, clock }, settings);
  }

  /** A value in the store, as text. */
  stored(secret: string, key: string): string {
    return Buffer.from(this.store.peek(secret)?.data[key] ?? []).toString('utf8');
  }

  writesOf(secret: string): number {
    return this.store.writes.filter(({ name }) => name === secret).length;
  }

  /** Resolves when the background work of every service waits for the clock. */
  async allAsleep(): Promise<void> {
    while (this.clock.pending < this.#started.length) await settle(1);
  }

  async tokens(): Promise<TokenService> {
    const { store, clock, log } = this;
    const metrics = createMetrics({ process: false });
    const service = new TokenService(
      { store, clock, log, metrics, authority: () => this.authority },
      () => this.settings,
    );
    this.#started.push(service);
    await service.start(new AbortController().signal);
    return service;
  }

  async replica(name = 'replica-1'): Promise<Replica> {
    const { clock, log, source } = this;
    const metrics = createMetrics({ process: false });
    const tokens = await this.tokens();
    const audit = new IssuanceLog({ log });
    const isRevoked = ({ serial }: { serial: string }): ShutOut | undefined =>
      this.revoked.has(serial) ? { word: 'revoked', text: 'lost' } : undefined;
    const grace = new RenewalGrace(
      { trust: () => source.current().clientCAs, clock, tokens, isRevoked },
      () => this.settings,
    );
    const issuer = new EdgeCertificateIssuer(
      {
        authority: () => this.authority,
        source,
        tokens,
        grace,
        isConnected: (node) => this.connected.has(node),
        isNodeRevoked: (node) => this.shutOut.get(node),
        audit,
        clock,
        log,
        metrics,
      },
      () => ({ ...this.settings, replica: name }),
    );
    const gate = new PeerGate(
      { trust: () => source.current().clientCAs, clock, isRevoked },
      () => this.settings,
    );
    return { tokens, audit, issuer, metrics, gate };
  }

  /** A request of `edge-1` with a fresh key and nothing that authenticates it. */
  async request(parts: Partial<IssueRequest> = {}): Promise<IssueRequest> {
    return {
      nodeName: 'edge-1',
      csr: await makeCsr(),
      token: undefined,
      peer: undefined,
      peerCertificate: undefined,
      extKeyUsages: undefined,
      remoteAddress: '192.0.2.7',
      ...parts,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#started.map((service) => service.stop()));
  }
}

export interface Replica {
  readonly tokens: TokenService;
  readonly audit: IssuanceLog;
  readonly issuer: EdgeCertificateIssuer;
  readonly metrics: Metrics;
  readonly gate: PeerGate;
}

/** What a listener hands over of a client certificate. */
export function peerOf({ gate }: Replica, certificate: X509Certificate, claimedNode?: string) {
  return { peer: gate.check(certificate, [], claimedNode), peerCertificate: certificate.raw };
}
