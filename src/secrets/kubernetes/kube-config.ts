import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';
import { Agent, type Dispatcher, ProxyAgent } from 'undici';
import { parse } from 'yaml';
import { SallyportError } from '../../core/errors.ts';

/**
 * Fills `config` from the kubeconfig or, in a pod, from the service account.
 *
 * @throws CONFIG_INVALID when there is neither, or the context does not exist; without quoting the file
 */
export function loadConfig(config: KubeConfig, context: string | undefined): KubeConfig {
  const invalid = (problem: string) => new SallyportError('CONFIG_INVALID', { problem });
  try {
    config.loadFromDefault();
    followTokenFiles(config);
  } catch (error) {
    // What the reader of YAML says is not passed on: it quotes the file, and that holds credentials.
    const code = (error as NodeJS.ErrnoException).code;
    throw invalid(
      `the kubeconfig ${kubeconfigFiles().join(', ')} cannot be read (${typeof code === 'string' ? code : 'it is not valid'})`,
    );
  }
  const fallback = config.getCurrentCluster();
  if (
    config.contexts.length === 1 &&
    fallback?.server === 'http://localhost:8080' &&
    fallback.name === 'cluster'
  )
    throw invalid('secretStore.kind is kubernetes, but there is neither a kubeconfig nor a service account');
  if (context !== undefined) {
    if (!config.getContextObject(context))
      throw invalid(
        `secretStore.context is ${context}, but the kubeconfig has ${config.contexts.map(({ name }) => name).join(', ') || 'none'}`,
      );
    config.setCurrentContext(context);
  }
  if (!config.getCurrentCluster()?.server)
    throw invalid('the kubeconfig names no cluster; set secretStore.context or its current-context');
  return config;
}

/** The files that the library reads. */
const kubeconfigFiles = () =>
  (process.env.KUBECONFIG || join(homedir(), '.kube', 'config')).split(delimiter).filter(Boolean);

/**
 * The library reads `token-file` where kubeconfigs have `tokenFile`. Kubernetes' own clients read the file
 * again and again, and it wins over `token` (client-go, `AuthInfo.TokenFile`).
 */
function followTokenFiles(config: KubeConfig): void {
  const paths = new Map<string, string>();
  for (const file of kubeconfigFiles())
    for (const [name, path] of tokenFilesIn(file)) if (!paths.has(name)) paths.set(name, path);
  config.users = config.users.map((user) => {
    const tokenFile = paths.get(user.name);
    if (tokenFile === undefined) return user;
    const { token: _, ...rest } = user;
    return { ...rest, authProvider: { name: 'tokenFile', config: { tokenFile } } };
  });
}

/** Name of the user → absolute path; none where there is no file, as in a pod. */
function tokenFilesIn(file: string): [name: string, path: string][] {
  let document: { users?: { name?: unknown; user?: { tokenFile?: unknown } }[] } | null;
  try {
    document = parse(readFileSync(file, 'utf8')) as typeof document;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return (document?.users ?? []).flatMap(({ name, user }) =>
    typeof name === 'string' && typeof user?.tokenFile === 'string'
      ? [[name, resolve(dirname(file), user.tokenFile)] as [string, string]]
      : [],
  );
}

/**
 * HTTP/1.1: over HTTP/2, undici never settles some calls that meet a GOAWAY, which is how an API server says
 * that it restarts (measured: 6 of 125,000 with `--goaway-chance=0.02`).
 */
const PROTOCOL = { allowH2: false } as const;

/**
 * A pool of connections with the TLS options and the proxy of the kubeconfig. @throws CONFIG_INVALID for a
 * SOCKS proxy
 */
export function createDispatcher(settings: ReturnType<KubeConfig['createDispatcherOptions']>): Dispatcher {
  switch (settings.type) {
    case 'none':
      return new Agent(PROTOCOL);
    case 'agent':
      return new Agent({ ...PROTOCOL, connect: settings.connect as Agent.Options['connect'] & object });
    case 'proxy':
      return new ProxyAgent({
        ...PROTOCOL,
        uri: settings.uri,
        requestTls: { ...settings.requestTls, ...PROTOCOL } as NonNullable<ProxyAgent.Options['requestTls']>,
      });
    case 'socks':
      throw new SallyportError('CONFIG_INVALID', {
        problem: 'the kubeconfig asks for a SOCKS proxy, which is not supported; use an HTTP proxy',
      });
  }
}
