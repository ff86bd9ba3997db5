/**
 * kube-apiserver and etcd for `npm run test:cluster`, built from their Go modules where Go is there, and kept
 * in a cache folder outside of the repository: about 12 minutes of CPU the first time, nothing later.
 *
 *   node tools/cluster-binaries.ts             builds what is missing, prints the folder
 *   node tools/cluster-binaries.ts --cached    prints the folder, or fails when something is missing
 */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

const KUBERNETES = '1.35.4';
/** The one that this Kubernetes is built and tested with (its go.mod). */
const ETCD = '3.6.5';
const BINARIES = { 'kube-apiserver': buildApiServer, etcd: buildEtcd } as const;

/** Where they are, or would be. */
export function clusterBinaries(): { readonly folder: string; readonly missing: readonly string[] } {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
  const folder = join(cache, 'sallyport', `kubernetes-${KUBERNETES}-etcd-${ETCD}`);
  return { folder, missing: Object.keys(BINARIES).filter((name) => !existsSync(join(folder, name))) };
}

function buildApiServer(workshop: string, to: string): void {
  const module = `k8s.io/kubernetes@v${KUBERNETES}`;
  const { Dir } = JSON.parse(go(workshop, 'mod', 'download', '-json', module)) as { Dir: string };
  // Its go.mod leads to folders of its own repository, which are modules of their own at 0.x of the same x.
  const goMod = readFileSync(join(Dir, 'go.mod'), 'utf8')
    .replace(/^module .*/m, 'module sallyport.test/cluster')
    .replace(/^require \(/m, `require k8s.io/kubernetes v${KUBERNETES}\n\nrequire (`)
    .replace(/=> \.\/staging\/src\/(\S+)/g, `=> $1 v${KUBERNETES.replace(/^1\./, '0.')}`);
  writeFileSync(join(workshop, 'go.mod'), goMod);
  copyFileSync(join(Dir, 'go.sum'), join(workshop, 'go.sum'));
  go(workshop, 'build', '-mod=mod', '-o', to, 'k8s.io/kubernetes/cmd/kube-apiserver');
}

function buildEtcd(workshop: string, to: string): void {
  writeFileSync(join(workshop, 'go.mod'), 'module sallyport.test/cluster\n');
  go(workshop, 'get', `go.etcd.io/etcd/server/v3@v${ETCD}`);
  go(workshop, 'build', '-mod=mod', '-o', to, 'go.etcd.io/etcd/server/v3');
}

function go(cwd: string, ...words: readonly string[]): string {
  return execFileSync('go', words, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}

function build(name: keyof typeof BINARIES, folder: string): void {
  mkdirSync(folder, { recursive: true });
  const workshop = mkdtempSync(join(tmpdir(), 'sallyport-build-'));
  try {
    process.stderr.write(`building ${name}; this takes a while\n`);
    const unfinished = join(folder, `.${name}.${process.pid}`);
    BINARIES[name](workshop, unfinished);
    renameSync(unfinished, join(folder, name));
  } finally {
    rmSync(workshop, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const { folder, missing } = clusterBinaries();
  if (missing.length > 0 && process.argv.includes('--cached')) {
    process.stderr.write(`not in ${folder}: ${missing.join(', ')}\n`);
    process.exit(1);
  }
  for (const name of missing) build(name as keyof typeof BINARIES, folder);
  process.stdout.write(`${folder}\n`);
}
