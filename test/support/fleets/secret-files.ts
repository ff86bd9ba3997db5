import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { readPair } from '../../../bench/lib/servers.ts';
import type { Pair } from '../pki/pki.ts';

/** Writes a Secret of the directory store as an operator would with an editor: a whole new file. */
export function writeSecret(
  folder: string,
  name: string,
  data: Readonly<Record<string, Uint8Array | string>>,
  type = 'Opaque',
): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const encoded = Object.fromEntries(
    Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString('base64')]),
  );
  const temporary = join(folder, `.${name}.tmp`);
  writeFileSync(
    temporary,
    stringify({ apiVersion: 'v1', kind: 'Secret', metadata: { name }, type, data: encoded }),
    { mode: 0o600 },
  );
  renameSync(temporary, join(folder, `${name}.yaml`));
}

/** A CA Secret in KubeEdge's encoding: DER, and the key as SEC1 DER. */
export function writeCaSecret(folder: string, ca: Pair): void {
  writeSecret(folder, 'casecret', {
    cadata: ca.der,
    cakeydata: ca.privateKey.export({ type: 'sec1', format: 'der' }),
  });
}

/** The CA of a gateway on this folder with its key, to mint certificates the gateway would not. */
export const readCa = (folder: string): Pair => readPair(folder, 'casecret', 'cadata', 'cakeydata');
