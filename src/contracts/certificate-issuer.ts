import type { Verdict } from '../identity/node-identity.ts';

/** Issues and renews edge certificates. This is all that the HTTPS listener knows about issuing. */
export interface CertificateIssuer {
  /**
   * Runs the steps of enrolment or renewal.
   * @throws SallyportError with the status to answer: 400 bad request, 401 not authenticated, 403 forbidden,
   * 429, 503
   */
  issue(request: IssueRequest): Promise<IssuedCertificate>;
  /**
   * True when the bearer token would be accepted now for this node. The call does not use the token up. Never
   * throws.
   */
  isTokenValid(token: string, nodeName: string): Promise<boolean>;
}

export interface IssueRequest {
  /** Header `NodeName`, unchecked. */
  readonly nodeName: string | undefined;
  /** PKCS#10, DER (PEM is understood too). */
  readonly csr: Uint8Array;
  /** The bearer token without `Bearer `; undefined when there was none. */
  readonly token: string | undefined;
  /** What the gate says about the client certificate; undefined when the client presented none. */
  readonly peer: Verdict | undefined;
  /** The peer's certificate in DER. It is there for renewal within the grace after expiry (F1). */
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

/** What cloud-side programs ask about tokens. This is all that the admin listener knows about them. */
export interface TokenMinter {
  /** @param ttlMs lifetime in milliseconds */
  createNodeToken(nodeName: string, ttlMs?: number): Promise<MintedToken>;
  /** The stored fleet token, renewed when little of its life is left. */
  fleetToken(): Promise<MintedToken>;
  /** What is known about the stored fleet token, never the token itself; undefined while none is kept. */
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
  /** Issues a new hub certificate from the present CA, now. Resolves when it is in the current bundle. */
  rotateHub(): Promise<void>;
  /**
   * Keeps the stored hub certificate whatever happens. It does so even when that certificate was taken back
   * because nodes could not connect to it. This lasts until another one is stored, and holds on this replica.
   * @throws BUNDLE_INVALID when it cannot be used
   */
  acceptStored(): Promise<void>;
  /** How the stored certificates compare with the wanted ones. */
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
  /** Sallyport renews it by itself; of a CA only a rollover makes a new one. */
  readonly managed: boolean;
  /** Somebody else has its key, or owns its Secret. */
  readonly external: boolean;
}

/** Who got which certificate, and by what right (requirement D12). It holds nothing secret. */
export interface IssuanceRecord {
  /** ISO 8601, like all times here. */
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
  /** True when a node joined with a token although it was connected (requirement D11). */
  readonly replacedConnected?: boolean;
}
