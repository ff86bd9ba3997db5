import type { CertificateInfo } from '../contracts/certificate-issuer.ts';

export interface RenewalNeed {
  readonly certificate: CertificateInfo;
  /** Milliseconds until it ends; negative when it has. */
  readonly leftMs: number;
  /** Why somebody has to act; undefined when nobody has. */
  readonly why?: string;
}

/** For what nobody renews by itself. */
const DEFAULT_WITHIN_MS = 30 * 86_400_000;

/**
 * Which certificates a person has to see to. What Sallyport renews by itself counts only when half of the
 * time it takes for that has passed and it is still the old one; the fleet token lives for a day and is left
 * out. `withinMs`, when given, is the one measure for all.
 * @param now milliseconds since the epoch
 */
export function needsRenewal(
  certificates: readonly CertificateInfo[],
  options: { readonly now: number; readonly withinMs?: number; readonly renewFraction: number },
): RenewalNeed[] {
  return certificates
    .filter(({ kind }) => kind !== 'fleet-token')
    .map((certificate) => {
      const [from, to] = [Date.parse(certificate.notBefore), Date.parse(certificate.notAfter)];
      const leftMs = to - options.now;
      const overdueMs = ((1 - options.renewFraction) / 2) * (to - from);
      const why =
        leftMs <= 0
          ? 'it has expired'
          : options.withinMs === undefined && certificate.managed
            ? leftMs < overdueMs
              ? 'it should have been renewed by itself'
              : undefined
            : leftMs < (options.withinMs ?? DEFAULT_WITHIN_MS)
              ? certificate.managed
                ? 'it ends soon'
                : 'it ends soon, and nobody renews it by itself'
              : undefined;
      return { certificate, leftMs, ...(why ? { why } : {}) };
    });
}
