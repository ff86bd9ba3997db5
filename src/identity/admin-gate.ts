import type { X509Certificate } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import type { TrustedCaInput } from './chain.ts';
import type { PeerCertificate, Refusal } from './node-identity.ts';
import { PeerGate } from './peer-gate.ts';
import type { ShutOut } from './revocation-reasons.ts';
import { subjectAttributes } from './subject.ts';

/** What an administrator may do: a viewer reads everything, an operator changes it too. */
export type AdminRole = 'viewer' | 'operator';

/**
 * The organization that makes a client certificate an administrator's, as groups are in Kubernetes. Edge
 * certificates hold `system:nodes`.
 */
export const ADMIN_ORGANIZATIONS = {
  operator: 'sallyport:admins',
  viewer: 'sallyport:viewers',
} as const satisfies Record<AdminRole, string>;

const ROLES = new Map(
  Object.entries(ADMIN_ORGANIZATIONS).map(([role, organization]) => [
    organization as string,
    role as AdminRole,
  ]),
);

export interface AdminGateComponents {
  /**
   * The CA of the gateway itself, both during a rollover; the further CAs whose edges are accepted make no
   * administrators.
   */
  readonly cas: () => readonly TrustedCaInput[];
  readonly clock: Pick<Clock, 'now'>;
  /** Why the certificate is revoked; undefined when it is not. */
  readonly isRevoked?: (peer: PeerCertificate) => ShutOut | undefined;
}

export type AdminVerdict =
  | {
      readonly ok: true;
      readonly name: string;
      readonly role: AdminRole;
      readonly certificate: PeerCertificate;
    }
  /** Nobody that this gateway knows. */
  | (Refusal & { readonly known: false })
  /** A good certificate, of somebody who is no administrator. */
  | { readonly ok: false; readonly known: true; readonly detail: string };

/**
 * Decides who may use the admin interface: the same checks as for edges, against the gateway's own CA alone,
 * and a subject of exactly one organization, that of a role, and one CN. Whatever goes wrong inside is a
 * refusal.
 */
export class AdminGate {
  readonly #gate: PeerGate;

  constructor({ cas, clock, isRevoked }: AdminGateComponents) {
    this.#gate = new PeerGate(
      {
        trust: cas,
        clock,
        ...(isRevoked ? { isRevoked } : {}),
      },
      () => ({ allowLegacy: false, legacyNodes: {} }),
    );
  }

  check(leaf: X509Certificate | undefined, intermediates: readonly X509Certificate[] = []): AdminVerdict {
    const checked = this.#gate.checkCertificate(leaf, intermediates);
    if (!checked.ok) return { ...checked, known: false };
    const attributes = subjectAttributes(checked.subject);
    const [organization, ...moreOrganizations] = attributes?.get('O') ?? [];
    const [name, ...moreNames] = attributes?.get('CN') ?? [];
    const role = moreOrganizations.length === 0 ? ROLES.get(organization ?? '') : undefined;
    if (role === undefined)
      return {
        ok: false,
        known: true,
        detail: `its organization is not exactly one of ${[...ROLES.keys()].join(', ')}`,
      };
    if (name === undefined || name === '' || moreNames.length > 0)
      return { ok: false, known: true, detail: 'it does not hold exactly one common name' };
    return { ok: true, name, role, certificate: checked.certificate };
  }
}
