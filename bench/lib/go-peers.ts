import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

const SOURCES = join(import.meta.dirname, '../peers/go');
/** Where the archive of go.dev is unpacked, for a machine that does not have it on the PATH. */
const USUAL_GO = '/usr/local/go/bin/go';

export interface GoPeers {
  /** `bench/peers/go/hub`: started with CERT KEY CA, prints its port. */
  readonly hub: string;
  /** `bench/peers/go/load`: prints one line of JSON. */
  readonly load: string;
}

/** Builds them into the cache folder of the user. @returns undefined where Go is missing */
export function buildGoPeers(): GoPeers | undefined {
  const go = ['go', USUAL_GO].find((name) => spawnSync(name, ['version']).status === 0);
  if (go === undefined) return undefined;
  const folder = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'sallyport', 'peers');
  mkdirSync(folder, { recursive: true });
  execFileSync(go, ['build', '-o', `${folder}/`, './hub', './load'], { cwd: SOURCES, stdio: 'inherit' });
  return { hub: join(folder, 'hub'), load: join(folder, 'load') };
}
