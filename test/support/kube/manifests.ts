import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { type LoadedConfig, loadConfig } from '../../../src/config/load.ts';
import { temporaryFolder } from '../temporary-folder.ts';

export interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string; readonly scheme: string };
  readonly periodSeconds: number;
  readonly timeoutSeconds: number;
  readonly failureThreshold: number;
}
export interface Port {
  readonly name: string;
  readonly protocol: string;
  readonly containerPort?: number;
  readonly port?: number | string;
  readonly targetPort?: string;
}
export interface Container {
  readonly image: string;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly ports: readonly Port[];
  readonly startupProbe: Probe;
  readonly livenessProbe: Probe;
  readonly readinessProbe: Probe;
  readonly lifecycle: { readonly preStop: { readonly exec: { readonly command: readonly string[] } } };
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}
export interface PodSpec {
  readonly serviceAccountName: string;
  readonly automountServiceAccountToken: boolean;
  readonly enableServiceLinks: boolean;
  readonly terminationGracePeriodSeconds: number;
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly topologySpreadConstraints: readonly {
    readonly topologyKey: string;
    readonly labelSelector: { readonly matchLabels: Labels };
  }[];
  readonly containers: readonly Container[];
  readonly volumes: readonly { readonly name: string; readonly configMap?: { readonly name: string } }[];
}
export type Labels = Readonly<Record<string, string>>;
export interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

/** One Kubernetes object, as far as the tests look into it. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Labels;
    readonly annotations?: Labels;
  };
  readonly data?: Labels;
  readonly rules?: readonly Rule[];
  readonly roleRef?: { readonly kind: string; readonly name: string };
  readonly subjects?: readonly {
    readonly kind: string;
    readonly name: string;
    readonly namespace?: string;
  }[];
  readonly automountServiceAccountToken?: boolean;
  readonly spec?: {
    readonly replicas?: number;
    readonly strategy?: unknown;
    readonly type?: string;
    readonly maxUnavailable?: number | string;
    readonly selector?: Labels & { readonly matchLabels?: Labels };
    readonly podSelector?: { readonly matchLabels: Labels };
    readonly ports?: readonly Port[];
    readonly ingress?: readonly { readonly ports: readonly Port[]; readonly from?: readonly unknown[] }[];
    readonly egress?: readonly unknown[];
    readonly template?: { readonly metadata: Manifest['metadata']; readonly spec: PodSpec };
    readonly endpoints?: readonly Readonly<Record<string, unknown>>[];
    readonly groups?: readonly {
      readonly rules: readonly { readonly alert: string; readonly expr: string }[];
    }[];
  };
}

/** What is applied to a cluster, by kind and name. */
export class Manifests {
  readonly all: readonly Manifest[];

  /** @throws when a document is not valid YAML */
  constructor(text: string) {
    this.all = parseAllDocuments(text, { merge: true }).flatMap((document) => {
      if (document.errors[0]) throw document.errors[0];
      return document.contents === null ? [] : [document.toJS() as Manifest];
    });
  }

  ofKind(kind: string): readonly Manifest[] {
    return this.all.filter((manifest) => manifest.kind === kind);
  }

  get(kind: string, name = 'sallyport'): Manifest {
    const found = this.ofKind(kind).find((manifest) => manifest.metadata.name === name);
    if (!found) throw new Error(`there is no ${kind} ${name}`);
    return found;
  }

  get pod(): PodSpec {
    return this.get('Deployment').spec!.template!.spec;
  }

  get container(): Container {
    return this.pod.containers[0]!;
  }

  /** What the gateway in the pod runs with: the mounted file, the image's variables, the pod's. */
  configuration(): LoadedConfig {
    const folder = temporaryFolder();
    const file = join(folder, 'gateway.yaml');
    writeFileSync(file, this.get('ConfigMap').data!['gateway.yaml']!);
    const own = Object.fromEntries(this.container.env.map(({ name, value = '' }) => [name, value]));
    return loadConfig({ file, env: { ...imageEnvironment(), ...own } });
  }
}

/** The variables that the Dockerfile sets. */
export function imageEnvironment(): Record<string, string> {
  const instructions = readFileSync('Dockerfile', 'utf8').replaceAll('\\\n', ' ');
  return Object.fromEntries(
    [...instructions.matchAll(/^ENV (.*)$/gm)]
      .flatMap(([, rest]) => rest!.trim().split(/\s+/))
      .map((pair) => pair.split('=') as [string, string]),
  );
}
