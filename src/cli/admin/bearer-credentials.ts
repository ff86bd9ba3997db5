import { readFile } from 'node:fs/promises';
import type { Config } from '../../config/schema.ts';
import { systemClock } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import type { BearerCredentials } from './admin-client.ts';

/**
 * What is given on the command line; the rest as `kubectl` has it: the token of the kubeconfig's user, and
 * the CA from its Secret.
 * @throws ADMIN_CREDENTIALS_MISSING, BEARER_MISSING, CONFIG_INVALID, and what the store throws
 */
export async function bearerCredentials(
  { secretStore, certificates }: Config,
  given: { readonly bearerToken?: string; readonly ca?: string },
): Promise<BearerCredentials> {
  const caFile = given.ca ?? (secretStore.kind === 'directory' ? `${secretStore.path}/ca.crt` : undefined);
  const fileCa = caFile === undefined ? undefined : await readCa(caFile);
  if (given.bearerToken !== undefined && fileCa !== undefined)
    return { bearerToken: given.bearerToken, ca: fileCa };
  const [{ loadClusterCredentials }, { silentLogger }, { createMetrics }] = await Promise.all([
    import('./kube-credentials.ts'),
    import('../../core/log.ts'),
    import('../../core/metrics.ts'),
  ]);
  const cluster = await loadClusterCredentials(
    { clock: systemClock, log: silentLogger, metrics: createMetrics({ process: false }) },
    { ...secretStore, caSecret: certificates.caSecret },
  );
  try {
    return {
      bearerToken: given.bearerToken ?? (await cluster.bearerToken()),
      ca: fileCa ?? (await cluster.ca()),
    };
  } finally {
    await cluster.close();
  }
}

async function readCa(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new SallyportError('ADMIN_CREDENTIALS_MISSING', { path }, cause);
  }
}
