import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median } from './lib/process-usage.ts';
import { startBenchGateway } from './lib/servers.ts';

const ROUNDS = 20;

/**
 * CPU of one command line, user and system: the built program (`npm run build` first) with its compile cache
 * warm. Aims: 120 ms for `--version`, 200 ms for `nodes list`, 20 ms for the health check of the image. The
 * ratio to `node -e 0` in the same run says more on a machine that does other things.
 */
export async function benchCli(): Promise<void> {
  await using gateway = await startBenchGateway();
  const base = mkdtempSync(join(tmpdir(), 'sallyport-cli-'));
  const file = join(base, 'ready');
  const [, check] = /^HEALTHCHECK .* CMD (\[.*\])$/m.exec(readFileSync('Dockerfile', 'utf8'))!;
  const health = (JSON.parse(check!) as string[]).map((word) =>
    word.replaceAll('/run/sallyport/ready', file),
  );
  const main = [process.execPath, 'dist/main.js'];
  const admin = [
    '--admin',
    `localhost:${gateway.ports.admin}`,
    '--set',
    `secretStore.path=${gateway.folder}`,
  ];
  const lines: readonly (readonly [string, readonly string[], number?])[] = [
    ['node -e 0', [process.execPath, '-e', '0']],
    ['--version', [...main, '--version'], 120],
    ['nodes list', [...main, ...admin, 'nodes', 'list'], 200],
    ['health check', health, 20],
  ];
  const costs = lines.map(([, words]) => {
    writeFileSync(file, '');
    // The first run fills the compile cache.
    run(words);
    return [] as number[];
  });
  for (let round = 0; round < ROUNDS; round++) {
    writeFileSync(file, '');
    for (const [index, [, words]] of lines.entries()) costs[index]!.push(run(words));
  }
  rmSync(base, { recursive: true, force: true });
  const bare = median(costs[0]!);
  for (const [index, [name, , aim]] of lines.entries()) {
    const cost = median(costs[index]!);
    const told = aim === undefined ? '' : `   (aim ≤ ${aim} ms)`;
    console.log(
      `command line       ${name.padEnd(14)} CPU ${cost.toFixed(0).padStart(4)} ms   ${(cost / bare).toFixed(2)} × node -e 0${told}`,
    );
  }
}

/** @returns milliseconds of CPU, user and system @throws when it fails */
function run(words: readonly string[]): number {
  // Node tells the CPU of its children in steps of 10 ms only.
  const shell = '"$@" > /dev/null; status=$?; times; exit $status';
  const { status, stdout, stderr } = spawnSync('bash', ['-c', shell, 'bash', ...words], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${words.join(' ')}: ${stderr}`);
  const [, ofChildren = ''] = stdout.split('\n');
  return [...ofChildren.matchAll(/(\d+)m([\d.]+)s/g)].reduce(
    (sum, [, minutes, seconds]) => sum + Number(minutes) * 60_000 + Number(seconds) * 1_000,
    0,
  );
}
