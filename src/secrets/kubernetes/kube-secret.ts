import { Buffer } from 'node:buffer';
import type { Secret } from '../../contracts/secret-store.ts';
import { SallyportError } from '../../core/errors.ts';
import { printSecretManifest } from '../secret-manifest.ts';
import type { KubeObject } from './kube-reflector.ts';

/** A Secret as the API has it; fields that nobody here knows are kept. */
export interface KubeSecret extends KubeObject {
  readonly type?: string;
  readonly data?: Readonly<Record<string, string>> | null;
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** @throws SECRET_MALFORMED for what the API would refuse, in our words */
export function printSecret(secret: Secret): { type: string; data: Record<string, string> } {
  printSecretManifest(secret);
  return {
    type: secret.type ?? 'Opaque',
    data: Object.fromEntries(
      Object.entries(secret.data).map(([key, value]) => [key, Buffer.from(value).toString('base64')]),
    ),
  };
}

/** @throws SECRET_MALFORMED without quoting values, SECRET_STORE_UNAVAILABLE when it is another object */
export function parseSecret(answer: unknown, name: string): Secret {
  const { metadata, type, data } = (answer ?? {}) as Partial<KubeSecret>;
  if (metadata?.name !== name || typeof metadata.resourceVersion !== 'string')
    throw new SallyportError('SECRET_STORE_UNAVAILABLE', { problem: 'the answer is not the Secret' });
  const entries = Object.entries(data ?? {}).map(([key, value]) => {
    if (typeof value !== 'string' || !BASE64.test(value))
      throw new SallyportError('SECRET_MALFORMED', { secret: name, problem: `the key ${key} is not base64` });
    return [key, new Uint8Array(Buffer.from(value, 'base64'))] as const;
  });
  return {
    name,
    type: type ?? 'Opaque',
    data: Object.fromEntries(entries),
    version: metadata.resourceVersion,
  };
}
