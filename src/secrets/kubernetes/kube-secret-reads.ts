import type { KubeClient, KubeRequest } from './kube-client.ts';
import { saysNotFound } from './kube-errors.ts';
import type { KubeSecret } from './kube-secret.ts';

/** The metadata of objects without their content (Kubernetes API concepts, "Metadata-only fetches"). */
const METADATA = ['PartialObjectMetadata', 'PartialObjectMetadataList'].map(
  (kind) => `application/json;as=${kind};g=meta.k8s.io;v=v1`,
) as [object: string, list: string];

/**
 * Reads of whole Secrets, which may be 1 MiB each and rarely change: what was read once is kept, and the API
 * is asked for its version only. So a replica that looks at a full Secret every few seconds costs the API
 * some kilobytes a minute (requirement R6). Never older than an answer to a question asked now.
 */
export class KubeSecretReads {
  readonly #client: Pick<KubeClient, 'call'>;
  readonly #path: string;
  readonly #known = new Map<string, KubeSecret>();

  /** @param path of the Secrets of the namespace */
  constructor({ client, path }: { client: Pick<KubeClient, 'call'>; path: string }) {
    this.#client = client;
    this.#path = path;
  }

  /** What was read, written or heard of last. */
  keep(secret: KubeSecret): void {
    this.#known.set(secret.metadata.name, secret);
  }

  /** The Secret of exactly this version, if it is known. */
  known(name: string, version: string): KubeSecret | undefined {
    const secret = this.#known.get(name);
    return secret?.metadata.resourceVersion === version ? secret : undefined;
  }

  /** Undefined only when the API itself says that there is none. */
  async get(name: string, signal: AbortSignal): Promise<KubeSecret | undefined> {
    const request = { method: 'GET', path: `${this.#path}/${name}`, signal } as const;
    try {
      const found = this.#known.has(name)
        ? this.#whole(name, await this.#ask({ ...request, accept: METADATA[0] }))
        : undefined;
      return found ?? this.#learn(await this.#ask(request));
    } catch (error) {
      if (!saysNotFound(error)) throw error;
      this.#known.delete(name);
      return undefined;
    }
  }

  /**
   * The one Secret or undefined, as of `version`; only so can a Role limited to named Secrets allow a list.
   */
  async list(
    name: string,
    signal: AbortSignal,
  ): Promise<{ readonly object: KubeSecret | undefined; readonly version: string }> {
    const query = { fieldSelector: `metadata.name=${name}` };
    const request = { method: 'GET', path: this.#path, query, signal } as const;
    if (this.#known.has(name)) {
      const { item, version } = itemIn(await this.#ask({ ...request, accept: METADATA[1] }), name);
      const whole = item && this.#whole(name, item);
      if (whole || !item) return { object: whole, version };
    }
    const { item, version } = itemIn(await this.#ask(request), name);
    return { object: item && this.#learn(item), version };
  }

  /** What is known when it is this version; what was answered when that is the whole Secret after all. */
  #whole(name: string, answer: KubeSecret): KubeSecret | undefined {
    return (
      this.known(name, answer.metadata?.resourceVersion) ??
      ('data' in answer ? this.#learn(answer) : undefined)
    );
  }

  #learn(secret: KubeSecret): KubeSecret {
    if (secret.metadata?.name) this.keep(secret);
    return secret;
  }

  async #ask(request: KubeRequest): Promise<KubeSecret> {
    return (await this.#client.call(request)) as KubeSecret;
  }
}

function itemIn(answer: unknown, name: string): { item: KubeSecret | undefined; version: string } {
  const { metadata, items } = answer as {
    metadata?: { resourceVersion?: unknown };
    items?: KubeSecret[] | null;
  };
  if (typeof metadata?.resourceVersion !== 'string' || !(Array.isArray(items) || items === null))
    throw new Error('the answer is not a list');
  return { item: items?.find((one) => one.metadata?.name === name), version: metadata.resourceVersion };
}
