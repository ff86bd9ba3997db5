import type { Config } from '../../config/schema.ts';
import type { GatewayInfo } from '../../contracts/gateway-info.ts';
import type { Secret, SecretStore } from '../../contracts/secret-store.ts';
import type { Clock } from '../../core/clock.ts';
import { isSallyportError } from '../../core/errors.ts';
import type { KubeClient } from '../../secrets/kubernetes/kube-client.ts';
import type { AdminClient } from '../admin/admin-client.ts';
import { AdminError } from '../admin/admin-error.ts';
import type { CertificatesAnswer } from '../certificates-answer.ts';
import { explainConnectError } from './connect-error.ts';

/** What the gateway said, or why it did not. */
export type GatewayState =
  | {
      readonly up: true;
      readonly info: GatewayInfo;
      readonly certificates: CertificatesAnswer;
      readonly admin: Pick<AdminClient, 'get' | 'text'>;
    }
  | {
      readonly up: false;
      /**
       * `disabled`: there is no admin listener to ask; `refused`: it answers, and not to this administrator.
       */
      readonly is: 'down' | 'disabled' | 'refused';
      readonly why: string;
      readonly hint: string;
    };

/** A stored Secret: there, definitely not there, or why it cannot be read. */
export type StoredSecret = { readonly secret: Secret | undefined } | { readonly problem: unknown };

/** Everything the checks look at, asked for once. */
export interface Patient {
  readonly config: Config;
  readonly clock: Clock;
  readonly store: SecretStore;
  /** Undefined where the Secrets are in a folder. */
  readonly kube?: KubeClient | undefined;
  /** By name: each Secret that a setting names. */
  readonly secrets: ReadonlyMap<string, StoredSecret>;
  readonly gateway: GatewayState;
  /** `host:port` of the admin listener, as it was asked. */
  readonly adminAddress: string;
}

export interface PatientComponents {
  readonly config: Config;
  readonly clock: Clock;
  readonly store: SecretStore;
  readonly kube?: KubeClient | undefined;
  /** May throw: credentials may be missing. */
  readonly connect: () => Pick<AdminClient, 'get' | 'text'>;
}

export async function examine(components: PatientComponents, adminAddress: string): Promise<Patient> {
  const { config, store } = components;
  const names = [...new Set(secretSettings(config).map(({ name }) => name))];
  const [secrets, gateway] = await Promise.all([
    Promise.all(names.map(async (name) => [name, await read(store, name)] as const)),
    askGateway(components, adminAddress),
  ]);
  return { ...components, secrets: new Map(secrets), gateway, adminAddress };
}

/** Every setting that names a Secret: a new one is looked at without a change here. */
export function secretSettings({
  certificates,
  tokens,
  upstream,
}: Config): { setting: string; name: string }[] {
  const of = (section: string, values: object) =>
    Object.entries(values)
      .filter(([key, value]) => key.endsWith('Secret') && typeof value === 'string')
      .map(([key, value]) => ({ setting: `${section}.${key}`, name: value as string }));
  const others = upstream.kind === 'none' ? {} : upstream;
  return [...of('certificates', certificates), ...of('tokens', tokens), ...of('upstream', others)];
}

/** The Secret of a setting, or undefined when it is missing or cannot be read. */
export function secretOf({ secrets }: Pick<Patient, 'secrets'>, name: string): Secret | undefined {
  const stored = secrets.get(name);
  return stored && 'secret' in stored ? stored.secret : undefined;
}

async function read(store: SecretStore, name: string): Promise<StoredSecret> {
  try {
    return { secret: await store.get(name, AbortSignal.timeout(15_000)) };
  } catch (problem) {
    return { problem };
  }
}

async function askGateway({ config, connect }: PatientComponents, address: string): Promise<GatewayState> {
  if (!config.admin.enabled)
    return {
      up: false,
      is: 'disabled',
      why: 'admin.enabled is false, so a running gateway cannot be asked',
      hint: 'set admin.enabled to let the doctor see what is served and who is refused',
    };
  try {
    const admin = connect();
    const [info, certificates] = await Promise.all([
      admin.get<GatewayInfo>('/api/v1/info'),
      admin.get<CertificatesAnswer>('/api/v1/certificates'),
    ]);
    return { up: true, info, certificates, admin };
  } catch (error) {
    return { up: false, is: error instanceof AdminError ? 'refused' : 'down', ...whyDown(error, address) };
  }
}

function whyDown(error: unknown, address: string): { why: string; hint: string } {
  if (error instanceof AdminError)
    return {
      why: `${address} answers, and refuses this administrator: ${error.message}`,
      hint: error.fix ?? 'use the admin certificate of this gateway',
    };
  if (isSallyportError(error, 'ADMIN_UNREACHABLE')) return explainConnectError(error.cause, address);
  if (isSallyportError(error)) return { why: error.message, hint: error.fix };
  return explainConnectError(error, address);
}
