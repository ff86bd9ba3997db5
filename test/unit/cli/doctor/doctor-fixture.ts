import { prepareAllCerts } from '../../../../src/certs/prepare-all-certs.ts';
import { AdminError } from '../../../../src/cli/admin/admin-error.ts';
import { diagnose } from '../../../../src/cli/doctor/diagnose.ts';
import type { CheckId, Finding } from '../../../../src/cli/doctor/finding.ts';
import { examine, type Patient } from '../../../../src/cli/doctor/patient.ts';
import { loadConfig } from '../../../../src/config/load.ts';
import { silentLogger } from '../../../../src/core/log.ts';
import { createMetrics } from '../../../../src/core/metrics.ts';
import { ManualClock } from '../../../fakes/manual-clock.ts';
import { MemorySecretStore } from '../../../fakes/memory-secret-store.ts';

export interface Ill {
  readonly settings?: Readonly<Record<string, string>>;
  /** What is done to the Secrets after a gateway would have made them. */
  readonly harm?: (store: MemorySecretStore, clock: ManualClock) => void | Promise<void>;
  /** Answers of the admin API by path; without them the gateway is down. */
  readonly answers?: Readonly<Record<string, unknown>>;
  /** Why the gateway cannot be asked. */
  readonly unreachable?: unknown;
}

/**
 * A gateway's Secrets as `prepareAllCerts` makes them, in memory, and what may have happened to them since.
 */
export async function patientOf({ settings = {}, harm, answers, unreachable }: Ill = {}): Promise<Patient> {
  const clock = new ManualClock();
  const store = new MemorySecretStore();
  const flags = {
    'https.port': '0',
    'websocket.port': '0',
    'quic.enabled': 'false',
    'admin.port': '0',
    ...settings,
  };
  const { config } = loadConfig({ flags });
  await prepareAllCerts(
    { clock, log: silentLogger, metrics: createMetrics({ process: false }), store },
    { certificates: config.certificates, addresses: ['localhost', '127.0.0.1', '::1'] },
    AbortSignal.timeout(10_000),
  );
  await harm?.(store, clock);
  const connect = () => {
    if (unreachable) throw unreachable;
    if (!answers) throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
    return {
      get: async <T>(path: string): Promise<T> => {
        if (!(path in answers)) throw new AdminError(404, { code: 'NOT_FOUND' });
        return answers[path] as T;
      },
      text: async () => ({ status: 200, text: 'readyz check passed\n' }),
    };
  };
  return examine({ config, clock, store, connect }, 'hub:10010');
}

/** What one check found. */
export async function findingsOf(check: CheckId, ill: Ill = {}): Promise<readonly Finding[]> {
  return (await diagnose(await patientOf(ill))).filter((one) => one.check === check);
}

/** Changes one Secret, or takes a key out of it. */
export async function edit(
  store: MemorySecretStore,
  name: string,
  change: (data: Record<string, Uint8Array>) => void,
): Promise<void> {
  const secret = (await store.get(name))!;
  const data = { ...secret.data };
  change(data);
  store.put({ ...secret, data });
}

export const info = (now: string, more: object = {}) => ({
  version: '1.2.3',
  replica: 'hub-1',
  startedAt: now,
  now,
  secretStore: 'memory',
  bus: 'local',
  advertise: ['localhost'],
  caSha256: 'ab',
  draining: false,
  nodes: 0,
  listeners: [],
  ...more,
});

/** A healthy gateway without listeners, at the time of the fixture's clock. */
export const healthy = (more: Readonly<Record<string, unknown>> = {}) => ({
  '/api/v1/info': info('2026-01-01T00:00:00.000Z'),
  '/api/v1/certificates': { certificates: [], listeners: [], wantedFingerprint: '', lastReload: '' },
  '/api/v1/nodes': { items: [] },
  '/api/v1/rejections': { items: [] },
  ...more,
});
