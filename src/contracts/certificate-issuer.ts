import type { Verdict } from '../identity/node-identity.ts';

/** Issues and renews edge certificates. The HTTPS listener knows only this. */
export interface CertificateIssuer {
  /**
   * Runs the steps of enrolment or renewal.
   * @throws SallyportError with the status to answer: 400 bad request, 401 not authenticated, 403 forbidden,
   * 429, 503
   */
  issue(request: IssueRequest): Promise<IssuedCertificate>;
  /** True when the bearer token would be accepted now for this node; nothing is consumed. Never throws. */
  isTokenValid(token: string, nodeName: string): Promise<boolean>;
}

export interface IssueRequest {
  /** Header `NodeName`, unchecked. */
  readonly nodeName: string | undefined;
  /** PKCS#10, DER (PEM is understood too). */
  readonly csr: Uint8Array;
  /** The bearer token without `Bearer `, when there was one. */
  readonly token: string | undefined;
  /** What the gate says of the client certificate; undefined when none was presented. */
  readonly peer: Verdict | undefined;
  /** The peer's certificate, DER, for renewal within the grace after expiry (F1). */
  readonly peerCertificate: Uint8Array | undefined;
  /** Go's numbers from header `ExtKeyUsages`: 1 serverAuth, 2 clientAuth. */
  readonly extKeyUsages: readonly number[] | undefined;
  /** Address of the caller, for the audit record. */
  readonly remoteAddress: string;
}

export interface IssuedCertificate {
  readonly der: Uint8Array;
  readonly nodeName: string;
  readonly serial: string;
  readonly notAfter: Date;
  readonly how: 'token' | 'fleet-token' | 'renewal' | 'grace-renewal';
}

/** What cloud-side programs ask of tokens; the admin listener knows only this. */
export interface TokenMinter {
  /** @param ttlMs lifetime in milliseconds */
  createNodeToken(nodeName: string, ttlMs?: number): Promise<MintedToken>;
  /** The stored fleet token, renewed when little of its life is left. */
  fleetToken(): Promise<MintedToken>;
  /** What is known of the stored fleet token, never the token; undefined while none is kept. */
  describeFleetToken(): CertificateInfo | undefined;
  /** Refuses every token minted until now, on every replica within 10 s (E8). */
  revokeAll(): Promise<void>;
}

export interface MintedToken {
  readonly token: string;
  readonly expiresAt: Date;
}

/** What the admin listener can show and do about certificates. */
export interface CertificateAdmin {
  /** Issues a new hub certificate from the present CA, now. Resolves when it is the current bundle. */
  rotateHub(): Promise<void>;
  /**
   * Keeps the stored hub certificate whatever happens, also when it was taken back because nodes could not
   * connect to it. Until another one is stored; on this replica.
   * @throws BUNDLE_INVALID when it cannot be used
   */
  acceptStored(): Promise<void>;
  /** State of stored against wanted certificates. */
  status(): CertificateStatus;
}

export interface CertificateStatus {
  readonly certificates: readonly CertificateInfo[];
  readonly wantedFingerprint: string;
  /** SHA-256 of the hub certificate in the Secret, lower-case hexadecimal; absent when it is not valid. */
  readonly storedHubSha256?: string;
  /** ISO time of the last swap. */
  readonly lastReload: string;
  /** Why the newest Secrets are not in use; undefined when they are. */
  readonly problem?: string;
}

export interface CertificateInfo {
  readonly kind: 'ca' | 'client-ca' | 'hub' | 'fleet-token';
  readonly secret: string;
  readonly subject: string;
  readonly issuer: string;
  readonly serial: string;
  readonly sha256: string;
  readonly notBefore: string;
  readonly notAfter: string;
  readonly names: readonly string[];
  /** True when Sallyport renews it; false when somebody else owns the Secret. */
  readonly managed: boolean;
}

/** Who got which certificate, and on the strength of what (requirement D12). Holds nothing secret. */
export interface IssuanceRecord {
  /** ISO 8601, as all times here. */
  readonly at: string;
  readonly node: string;
  readonly how: IssuedCertificate['how'];
  readonly serial: string;
  /** SHA-256 of the DER of the CA certificate that signed it, lower-case hexadecimal. */
  readonly issuerSha256: string;
  readonly notBefore: string;
  /** SHA-256 of the public key's SPKI, lower-case hexadecimal. */
  readonly publicKeySha256: string;
  readonly usages: readonly string[];
  readonly notAfter: string;
  readonly remoteAddress: string;
  readonly replica: string;
  /** Names the token; it is not the token. */
  readonly tokenId?: string;
  /** Serial of the certificate that was renewed. */
  readonly oldSerial?: string;
  /** True when a token join was let through although the node was connected (requirement D11). */
  readonly replacedConnected?: boolean;
}
