/** What a program at either end can act on when a peer is refused. Times are milliseconds since the epoch. */
export interface PeerFacts {
  /** The clock of the hub when it decided. */
  readonly hubTime?: number;
  readonly notBefore?: number;
  readonly notAfter?: number;
  /** Upper-case hexadecimal, as `X509Certificate.serialNumber`. */
  readonly serial?: string;
  /** Issuer's name in the certificate that was presented; for operators, edges know it. */
  readonly presentedIssuer?: string;
  /** SHA-256 of the issuer's certificate, where the peer sent it along. */
  readonly presentedIssuerSha256?: string;
  /** SHA-256 of each trusted CA. */
  readonly expectedIssuersSha256?: readonly string[];
}

/** Header of a refusal, beside `Sallyport-Reason`: {@link encodeFacts}. */
export const FACTS_HEADER = 'sallyport-facts';

/** While a CA is rolled over there are two. */
const MAX_ISSUERS = 4;

/**
 * For the edge, as a dictionary of strings (RFC 9651 §3.2): `hub-time="…Z", not-after="…Z",
 * expected-issuer-sha256=("…")`. In a close text it stands in brackets at the end. Undefined when there is
 * nothing to tell.
 */
export function encodeFacts(facts: PeerFacts | undefined): string | undefined {
  if (!facts) return undefined;
  const parts = [
    ...time('hub-time', facts.hubTime),
    ...time('not-before', facts.notBefore),
    ...time('not-after', facts.notAfter),
  ];
  const issuers = facts.expectedIssuersSha256?.slice(0, MAX_ISSUERS) ?? [];
  if (issuers.length > 0)
    parts.push(`expected-issuer-sha256=(${issuers.map((one) => `"${one}"`).join(' ')})`);
  return parts.length === 0 ? undefined : parts.join(', ');
}

/**
 * Reads what {@link encodeFacts} wrote, from a header or at the end of a close text; what it does not know it
 * leaves out.
 */
export function parseFacts(text: string): PeerFacts {
  const at = (name: string) => {
    const value = new RegExp(`(?:^|[ ,[])${name}="([^"]*)"`).exec(text)?.[1];
    const parsed = value === undefined ? Number.NaN : Date.parse(value);
    return Number.isNaN(parsed) ? undefined : parsed;
  };
  const issuers = /expected-issuer-sha256=\(([^)]*)\)/.exec(text)?.[1]?.match(/[0-9a-f]{64}/g);
  const facts: Record<string, unknown> = {
    hubTime: at('hub-time'),
    notBefore: at('not-before'),
    notAfter: at('not-after'),
    expectedIssuersSha256: issuers ?? undefined,
  };
  return Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined));
}

function time(name: string, value: number | undefined): string[] {
  const date = new Date(value ?? Number.NaN);
  return Number.isNaN(date.getTime()) ? [] : [`${name}="${date.toISOString().slice(0, 19)}Z"`];
}
