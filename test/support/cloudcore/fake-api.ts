export interface ApiObject {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly resourceVersion: string;
    readonly [more: string]: unknown;
  };
  readonly [more: string]: unknown;
}

/**
 * What a cluster remembers, whatever becomes of its CloudCores: objects by resource
 * (`default/configmap/demo`), who has to have them, and up to which version each node has acknowledged them
 * (ObjectSync).
 */
export class FakeApi {
  readonly objects = new Map<string, ApiObject>();
  /** Node → resource → version that was acknowledged. */
  readonly acknowledged = new Map<string, Map<string, number>>();
  readonly #onChange = new Set<(node: string, resource: string, object: ApiObject) => void>();
  /** Resource → node it is pushed to. */
  readonly #placed = new Map<string, string>();
  #version = 100;

  /** Writes an object, and has it pushed to the node it is meant for. */
  put(resource: string, fields: Record<string, unknown>, { node }: { node?: string } = {}): ApiObject {
    const [, kind = '', name = ''] = resource.split('/');
    const metadata = {
      ...(this.objects.get(resource)?.metadata ?? {}),
      ...(fields.metadata as object | undefined),
      name,
      resourceVersion: String(++this.#version),
    };
    const object: ApiObject = { kind, ...this.objects.get(resource), ...fields, metadata };
    this.objects.set(resource, object);
    if (node !== undefined) this.#placed.set(resource, node);
    const place = this.#placed.get(resource);
    if (place !== undefined) for (const tell of [...this.#onChange]) tell(place, resource, object);
    return object;
  }

  /** What the node should have and has not acknowledged in its newest version. */
  missing(node: string): [string, ApiObject][] {
    const known = this.acknowledged.get(node);
    return [...this.#placed].flatMap(([resource, place]) => {
      const object = this.objects.get(resource)!;
      const isNew = (known?.get(resource) ?? 0) < Number(object.metadata.resourceVersion);
      return place === node && isNew ? [[resource, object] as [string, ApiObject]] : [];
    });
  }

  acknowledge(node: string, resource: string, version: number): void {
    const known = this.acknowledged.get(node) ?? new Map<string, number>();
    this.acknowledged.set(node, known);
    known.set(resource, Math.max(version, known.get(resource) ?? 0));
  }

  hasSeen(node: string, resource: string): boolean {
    return this.acknowledged.get(node)?.has(resource) ?? false;
  }

  onChange(listener: (node: string, resource: string, object: ApiObject) => void): () => void {
    this.#onChange.add(listener);
    return () => this.#onChange.delete(listener);
  }
}
