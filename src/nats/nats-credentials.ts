import { readFileSync } from 'node:fs';
import {
  type Authenticator,
  credsAuthenticator,
  type NodeConnectionOptions,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
} from '@nats-io/transport-node';
import type { Config } from '../config/schema.ts';
import { SallyportError } from '../core/errors.ts';

export type NatsCredentialOptions = Pick<
  Config['bus']['nats'],
  'servers' | 'credsFile' | 'tokenFile' | 'user' | 'passwordFile' | 'tls'
>;

/** Secrets come from files, or from these variables; never from the configuration, which is printed. */
const TOKEN_VARIABLE = 'NATS_TOKEN';
const PASSWORD_VARIABLE = 'NATS_PASSWORD';

/**
 * How to authenticate with NATS. Files are read now, so that a missing one is named at the start, and again
 * at each connect, so that they can be rotated; one that cannot be read then leaves what was read last.
 * @throws BUS_CREDENTIALS_UNREADABLE, CONFIG_INVALID
 */
export function natsCredentials(
  options: NatsCredentialOptions,
  env: NodeJS.ProcessEnv = process.env,
): Pick<NodeConnectionOptions, 'servers' | 'authenticator' | 'tls'> {
  const { servers, tls } = options;
  if ((tls.certFile === undefined) !== (tls.keyFile === undefined))
    throw new SallyportError('CONFIG_INVALID', { problem: 'bus.nats.tls.certFile and keyFile go together' });
  for (const [name, path] of Object.entries(tls)) if (path !== undefined) readText(path, `tls.${name}`);
  const authenticator = authenticatorOf(options, env);
  const wantsTls = Object.values(tls).some(Boolean) || servers.some((server) => server.startsWith('tls://'));
  return {
    servers: [...servers],
    ...(authenticator ? { authenticator } : {}),
    // The transport reads these files anew at each connect.
    ...(wantsTls ? { tls: { ...tls } as NonNullable<NodeConnectionOptions['tls']> } : {}),
  };
}

function authenticatorOf(options: NatsCredentialOptions, env: NodeJS.ProcessEnv): Authenticator | undefined {
  const { credsFile, user } = options;
  if (credsFile !== undefined) {
    const read = reader(credsFile, 'credsFile');
    return credsAuthenticator(() => new TextEncoder().encode(read()));
  }
  if (user !== undefined)
    return usernamePasswordAuthenticator(
      user,
      secret(options.passwordFile, 'passwordFile', env[PASSWORD_VARIABLE]) ?? '',
    );
  const token = secret(options.tokenFile, 'tokenFile', env[TOKEN_VARIABLE]);
  return token === undefined ? undefined : tokenAuthenticator(token);
}

function secret(path: string | undefined, setting: string, fallback: string | undefined) {
  if (path === undefined) return fallback;
  return reader(path, setting);
}

function reader(path: string, setting: string): () => string {
  let last = readText(path, setting);
  return () => {
    try {
      last = readText(path, setting);
    } catch {
      // What was read last may still do; the server's answer says whether it does.
    }
    return last;
  };
}

function readText(path: string, setting: string): string {
  try {
    const text = readFileSync(path, 'utf8').trim();
    if (text !== '') return text;
  } catch (cause) {
    throw new SallyportError('BUS_CREDENTIALS_UNREADABLE', { setting: `bus.nats.${setting}` }, cause);
  }
  throw new SallyportError('BUS_CREDENTIALS_UNREADABLE', { setting: `bus.nats.${setting}` });
}
