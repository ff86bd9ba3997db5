/**
 * How a check ended. `skipped`: it does not apply, or what it needs cannot be had; says nothing about health.
 */
export type Status = 'ok' | 'warning' | 'failure' | 'skipped';

/** One line of the doctor. */
export interface Finding {
  /** Names the check; docs/troubleshooting.md has a section of this name. */
  readonly check: CheckId;
  readonly status: Status;
  readonly title: string;
  readonly detail?: string;
  /** One thing to do; on every warning and failure. */
  readonly hint?: string;
  /** To apply with kubectl. */
  readonly yaml?: string;
}

/** Every check there is, and the group it stands in. A test holds docs/troubleshooting.md against it. */
export const CHECKS = {
  'store-reachable': 'Store & Secrets',
  'secret-whole': 'Store & Secrets',
  'secret-files': 'Store & Secrets',
  'store-drift': 'Store & Secrets',
  ca: 'Certificates',
  'hub-certificate': 'Certificates',
  'admin-certificate': 'Certificates',
  trust: 'Certificates',
  revocations: 'Certificates',
  crl: 'Certificates',
  clock: 'Certificates',
  'hub-names': 'Addresses',
  'name-resolves': 'Addresses',
  gateway: 'Listeners',
  'replica-name': 'Listeners',
  ready: 'Listeners',
  served: 'Listeners',
  port: 'Listeners',
  upstream: 'CloudCore',
  permission: 'Kubernetes permissions',
  'fleet-token': 'Tokens',
  backup: 'Backups',
  'node-expiry': 'Nodes',
  'node-forecast': 'Nodes',
  'key-exchange': 'Nodes',
  rejections: 'Nodes',
  'node-version': 'Process',
  'open-files': 'Process',
  heap: 'Process',
  'edge-dns': 'Names',
  'edge-tcp': 'Network',
  'edge-udp': 'Network',
  'edge-tls': 'TLS',
  'edge-names': 'TLS',
  'edge-ca': 'TLS',
  'edge-chain': 'TLS',
  'edge-clock': 'Clock',
  'edge-certificate': 'Credentials',
  'edge-accepted': 'Credentials',
} as const;

export type CheckId = keyof typeof CHECKS;

export const docsOf = (check: CheckId) => `docs/troubleshooting.md#${check}`;

export const ok = (check: CheckId, title: string, detail?: string): Finding => ({
  check,
  status: 'ok',
  title,
  ...(detail === undefined ? {} : { detail }),
});

export const skipped = (check: CheckId, title: string, detail: string): Finding => ({
  check,
  status: 'skipped',
  title,
  detail,
});

interface Trouble {
  readonly detail: string;
  readonly hint: string;
  readonly yaml?: string;
}

export const warning = (check: CheckId, title: string, trouble: Trouble): Finding => ({
  check,
  status: 'warning',
  title,
  ...trouble,
});

export const failure = (check: CheckId, title: string, trouble: Trouble): Finding => ({
  check,
  status: 'failure',
  title,
  ...trouble,
});
