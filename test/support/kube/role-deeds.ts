import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { parse } from 'yaml';
import type { BackupStatus } from '../../../src/contracts/backups.ts';
import type { CertificateStatus } from '../../../src/contracts/certificate-issuer.ts';
import { describeError } from '../../../src/core/errors.ts';
import { historySecretNames } from '../../../src/history/history-shards.ts';
import { joinAsEdgeCore } from '../edges/edgecore.ts';
import { servedCertificate } from '../edges/serving.ts';
import { eventually } from '../eventually.ts';
import { mintCa, mintServer } from '../pki/pki.ts';
import { KubeApi, type KubeCall, type PolicyRule } from './kube-api.ts';
import { putHub, storedBytes, storedCa } from './kube-fleet.ts';
import { type KubeGateway, startKubeGateway } from './kube-gateway.ts';

const manifest = (path: string) => parse(readFileSync(`deploy/kustomize/${path}`, 'utf8')) as object;
const { rules } = manifest('role.yaml') as { rules: PolicyRule[] };
/** Kubernetes' own ClusterRole, which `bearer-tokens` binds. */
const AUTH_DELEGATOR: readonly PolicyRule[] = [
  { apiGroups: ['authentication.k8s.io'], resources: ['tokenreviews'], verbs: ['create'] },
  { apiGroups: ['authorization.k8s.io'], resources: ['subjectaccessreviews'], verbs: ['create'] },
];
export const shipped = [...rules, ...AUTH_DELEGATOR];
/** How long is waited for what has to happen, and for what must not. */
const PATIENCE_MS = { granted: 60_000, refused: 2_500 };
interface Deed {
  readonly gateway: KubeGateway;
  readonly api: KubeApi;
  readonly patienceMs: number;
}

/**
 * What a gateway does on a cluster, by name; the periodic full read is out of the way, so that only the watch
 * can tell of a change.
 */
const deeds: Readonly<Record<string, (deed: Deed) => Promise<void>>> = {
  'lets an administrator in by bearer token': async ({ gateway: { admin } }) => {
    await admin.get('/api/v1/info');
  },
  'holds a watch on CA, hub certificate, trust, rollover, revocations and replicas, and need not ask again':
    async ({ api, patienceMs }) => {
      await eventually('six watches are open', () => api.watches === 6, patienceMs);
    },
  'follows the hub Secret': async ({ gateway, api, patienceMs }) => {
    const next = await mintServer(storedCa(api));
    putHub(api, next);
    await eventually(
      'the new one is served',
      async () =>
        (await servedCertificate(gateway.port('websocket'))).serialNumber === next.certificate.serialNumber,
      patienceMs,
    );
  },
  'follows the trust Secret': async ({ gateway: { admin }, api, patienceMs }) => {
    api.put('sallyport-trust', { data: { old: (await mintCa()).der.toString('base64') } });
    await eventually(
      'a second CA is trusted',
      async () =>
        (await admin.get<CertificateStatus>('/api/v1/certificates')).certificates.some(
          ({ kind }) => kind === 'client-ca',
        ),
      patienceMs,
    );
  },
  'renews the hub certificate': async ({ gateway: { admin } }) => {
    await admin.post('/api/v1/certificates/hub/rotate');
  },
  'enrols a node with a token, which is then used up': async ({ gateway }) => {
    const { token } = await gateway.admin.post<{ token: string }>('/api/v1/tokens', { node: 'edge-1' });
    const join = () => joinAsEdgeCore(gateway.port('https'), { node: 'edge-1', token });
    expect([(await join()).answer.status, (await join()).answer.status]).toEqual([200, 401]);
  },
  'keeps the fleet token': async ({ api, patienceMs }) => {
    await eventually(
      'it is stored',
      () => storedBytes(api, 'tokensecret', 'tokendata').length > 0,
      patienceMs,
    );
  },
  'knows when the last backup was': async ({ gateway: { admin } }) => {
    expect((await admin.get<BackupStatus>('/api/v1/backup')).problem).toBeUndefined();
  },
  'remembers nodes beside the other replicas': async ({ gateway: { admin, port } }) => {
    for (const node of ['edge-h1', 'edge-h2']) {
      const { token } = await admin.post<{ token: string }>('/api/v1/tokens', { node });
      await joinAsEdgeCore(port('https'), { node, token });
      // The first makes the Secret, the second changes it.
      await admin.post(`/api/v1/nodes/${node}/forget`);
    }
  },
  'leaves Events, and counts what happens again': async ({ gateway: { admin }, api, patienceMs }) => {
    await admin.post('/api/v1/tokens/revoke-all');
    await admin.post('/api/v1/tokens/revoke-all');
    const has = (reason: string, count: number) =>
      [...api.events.values()].some((event) => event.reason === reason && event.count === count);
    await eventually(
      'they are there',
      () =>
        has('CertificateAuthorityCreated', 1) && has('EdgeCertificateIssued', 1) && has('TokensRevoked', 2),
      patienceMs,
    );
  },
};

/**
 * Lives the whole story with these rules, or as far as the deed that is expected to fail.
 * @param calls what was asked of the API is added to it
 * @returns the names of the deeds that failed, with their causes
 */
export async function live(
  rulesInForce: readonly PolicyRule[],
  expected?: string,
  calls: KubeCall[] = [],
): Promise<Map<string, string>> {
  await using api = await KubeApi.start();
  api.rules = rulesInForce;
  const failed = new Map<string, string>();
  const patienceMs = PATIENCE_MS[expected === undefined ? 'granted' : 'refused'];
  const starting = startKubeGateway(api, {
    settings: { 'secretStore.resyncMs': '600000' },
    signal: AbortSignal.timeout(expected === 'starts' ? PATIENCE_MS.refused * 2 : PATIENCE_MS.granted),
  });
  const gateway = await starting.catch((error: unknown) => void failed.set('starts', describeError(error)));
  if (!gateway) return failed;
  try {
    for (const [name, deed] of Object.entries(deeds)) {
      await deed({ gateway, api, patienceMs }).catch((error: unknown) =>
        failed.set(name, describeError(error)),
      );
      if (name === expected) break;
    }
  } finally {
    await gateway[Symbol.asyncDispose]();
    calls.push(...api.calls);
  }
  return failed;
}

export const without = (rule: PolicyRule, verb: string) =>
  shipped.map((one) => (one === rule ? { ...one, verbs: one.verbs.filter((other) => other !== verb) } : one));
export const rights = shipped.flatMap((rule) => rule.verbs.map((verb) => ({ rule, verb })));

const SHARED = `tokensecret,sallyport-tokens,${historySecretNames('sallyport-history', 16).join()}`;
/** What each right is for: the first deed that fails without it. */
export const PURPOSES: Readonly<Record<string, string>> = {
  'get secrets casecret,cloudcoresecret,sallyport-revocations,sallyport-rollover,sallyport-replicas':
    'starts',
  'list secrets casecret,cloudcoresecret,sallyport-revocations,sallyport-rollover,sallyport-replicas':
    'follows the hub Secret',
  'watch secrets casecret,cloudcoresecret,sallyport-revocations,sallyport-rollover,sallyport-replicas':
    'holds a watch on CA, hub certificate, trust, rollover, revocations and replicas, and need not ask again',
  'update secrets casecret,cloudcoresecret,sallyport-revocations,sallyport-rollover,sallyport-replicas':
    'renews the hub certificate',
  'get secrets sallyport-trust': 'starts',
  'list secrets sallyport-trust': 'follows the hub Secret',
  'watch secrets sallyport-trust':
    'holds a watch on CA, hub certificate, trust, rollover, revocations and replicas, and need not ask again',
  'get secrets sallyport-backup': 'knows when the last backup was',
  [`get secrets ${SHARED}`]: 'starts',
  [`update secrets ${SHARED}`]: 'enrols a node with a token, which is then used up',
  'create secrets': 'starts',
  'create events': 'leaves Events, and counts what happens again',
  'patch events': 'leaves Events, and counts what happens again',
  'create tokenreviews': 'lets an administrator in by bearer token',
  'create subjectaccessreviews': 'lets an administrator in by bearer token',
};

export function nameOf({ rule, verb }: { rule: PolicyRule; verb: string }): string {
  return [verb, rule.resources?.join(','), rule.resourceNames?.join(',')].filter(Boolean).join(' ');
}
