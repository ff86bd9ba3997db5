import { execFileSync } from 'node:child_process';

/** In order; each throws what is wrong, and may say what it found. */
export type Steps = Readonly<Record<string, () => Promise<string | undefined> | string | undefined>>;

/**
 * Tells of each what came of it, up to the first that fails, and then in one line how many passed, as the
 * exit code does.
 */
export async function runSteps(title: string, steps: Steps): Promise<void> {
  const tell = (line: string) => void process.stdout.write(`${line}\n`);
  let passed = 0;
  let failed = 0;
  for (const [name, step] of Object.entries(steps)) {
    const startedAt = performance.now();
    try {
      const found = await step();
      passed++;
      const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
      tell(`ok    ${name} (${seconds} s)${found ? `: ${found}` : ''}`);
    } catch (error) {
      failed++;
      // What a program said before it failed.
      tell((error as { stdout?: string }).stdout ?? '');
      tell(`FAIL  ${name}: ${error instanceof Error ? error.message : error}`);
      break;
    }
  }
  tell(`${title} ${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}

export function assert(condition: boolean, problem: string): asserts condition {
  if (!condition) throw new Error(problem);
}

/** @returns standard output. @throws when the command fails; its standard error is ours */
export function run(cwd: string, command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}
