import { stringify } from 'yaml';
import { describeError } from '../../core/errors.ts';
import { historySecretNames } from '../../history/history-shards.ts';
import type { KubeClient } from '../../secrets/kubernetes/kube-client.ts';
import { type Finding, failure, ok, skipped } from './finding.ts';
import { type Patient, secretSettings } from './patient.ts';

/** One right, as a rule of a Role would grant it. */
interface Right {
  readonly verb: string;
  readonly resource: 'secrets' | 'events';
  /** Undefined for `create`, which RBAC cannot limit by name. */
  readonly name?: string;
}

const READ = ['get', 'list', 'watch'];
const KEEP = [...READ, 'update'];
const SHARE = ['get', 'update'];
/** What is not kept and followed by the gateway; every other Secret a setting names is. */
const OTHERS: Readonly<Record<string, readonly string[]>> = {
  'certificates.trustSecret': READ,
  'certificates.backupSecret': ['get'],
  'certificates.historySecret': SHARE,
  'tokens.fleetSecret': SHARE,
  'tokens.stateSecret': SHARE,
  'upstream.caSecret': READ,
};

/** What a gateway asks of the API server: deploy/ grants the same, which a test compares. */
function rightsOf({ config }: Patient): Right[] {
  const ofSecrets = secretSettings(config).flatMap(({ setting, name }) => {
    const followed = setting === 'certificates.hubSecret' && !config.certificates.hubSecretManaged;
    return (OTHERS[setting] ?? (followed ? READ : KEEP)).map(
      (verb): Right => ({ verb, resource: 'secrets', name }),
    );
  });
  const { historySecret, historyShards } = config.certificates;
  const shards = historySecretNames(historySecret, historyShards).slice(1);
  return [
    ...ofSecrets,
    ...shards.flatMap((name) => SHARE.map((verb): Right => ({ verb, resource: 'secrets', name }))),
    { verb: 'create', resource: 'secrets' },
    { verb: 'create', resource: 'events' },
    { verb: 'patch', resource: 'events' },
  ];
}

/**
 * Asks the API server about each right by SelfSubjectAccessReview: it answers for whoever runs the doctor.
 */
export async function checkPermissions(patient: Patient): Promise<Finding[]> {
  const { kube } = patient;
  if (!kube)
    return [skipped('permission', 'not on Kubernetes', 'the Secrets are in a folder (secretStore.kind)')];
  const rights = rightsOf(patient);
  let answers: boolean[];
  try {
    answers = await Promise.all(rights.map((right) => isAllowed(kube, right)));
  } catch (error) {
    return [
      failure('permission', 'the API server cannot be asked about permissions', {
        detail: describeError(error),
        hint: 'check the kubeconfig or service account, and that the API server can be reached',
      }),
    ];
  }
  const missing = rights.filter((_, index) => !answers[index]);
  const title = (right: Right) => `${right.verb} ${right.resource}${right.name ? ` ${right.name}` : ''}`;
  if (missing.length === 0)
    return [ok('permission', `all ${rights.length} permissions are granted in namespace ${kube.namespace}`)];
  const yaml = roleFor(missing, kube.namespace);
  return missing.map((right, index) =>
    failure('permission', `not allowed: ${title(right)}`, {
      detail: `namespace ${kube.namespace}, as the user of this kubeconfig or service account`,
      hint:
        index === missing.length - 1
          ? 'kubectl apply -f - the Role below, and bind it to the service account of the gateway'
          : 'see the Role below',
      // Once, with everything that is missing.
      ...(index === missing.length - 1 ? { yaml } : {}),
    }),
  );
}

async function isAllowed(kube: KubeClient, { verb, resource, name }: Right): Promise<boolean> {
  const answer = (await kube.call({
    method: 'POST',
    path: '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
    body: {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SelfSubjectAccessReview',
      spec: {
        resourceAttributes: {
          namespace: kube.namespace,
          verb,
          group: '',
          resource,
          ...(name === undefined ? {} : { name }),
        },
      },
    },
  })) as { status?: { allowed?: boolean } };
  return answer.status?.allowed === true;
}

/** A Role with exactly what is missing, verbs of one Secret together. */
function roleFor(missing: readonly Right[], namespace: string): string {
  const rules = new Map<string, { resource: string; name: string | undefined; verbs: string[] }>();
  for (const { resource, name, verb } of missing) {
    const key = `${resource} ${name ?? ''}`;
    const rule = rules.get(key) ?? { resource, name, verbs: [] };
    rule.verbs.push(verb);
    rules.set(key, rule);
  }
  return stringify({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'Role',
    metadata: { name: 'sallyport-missing', namespace },
    rules: [...rules.values()].map(({ resource, name, verbs }) => ({
      apiGroups: [''],
      resources: [resource],
      ...(name === undefined ? {} : { resourceNames: [name] }),
      verbs,
    })),
  }).trimEnd();
}
