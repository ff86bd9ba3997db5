import { defineConfig } from 'vitest/config';

/** Generous: a test that waits for a condition ends when it holds, however slow the machine is. */
const shared = {
  environment: 'node' as const,
  testTimeout: 120_000,
  hookTimeout: 120_000,
  pool: 'forks' as const,
  // As `eventually` waits (test/support).
  expect: { poll: { timeout: 60_000, interval: 10 } },
  // No test replaces a module, so the files of a worker share theirs: each is loaded once.
  isolate: false,
};

/**
 * unit and contract: no process is started. integration: whole gateways. stories: the longer ones, for CI.
 * helm, browser, rules, nats, chaos, cluster, python: need Helm 3, Chromium, promtool, nats-server, a built
 * kube-apiserver, Python with examples/python-edge/requirements.txt.
 */
export default defineConfig({
  test: {
    // One more than the two cores: much of the time is spent waiting, on timers and on processes.
    maxWorkers: 3,
    globalSetup: 'test/support/temporary-folder.ts',
    projects: [
      { test: { ...shared, name: 'unit', include: ['test/unit/**/*.test.ts', 'test/*.test.ts'] } },
      { test: { ...shared, name: 'contract', include: ['test/contract/**/*.test.ts'] } },
      {
        test: {
          ...shared,
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 180_000,
        },
      },
      { test: { ...shared, name: 'helm', include: ['test/helm/**/*.test.ts'] } },
      {
        test: {
          ...shared,
          name: 'browser',
          include: ['test/browser/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          ...shared,
          name: 'nats',
          include: ['test/nats/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      { test: { ...shared, name: 'python', include: ['test/python/**/*.test.ts'] } },
      { test: { ...shared, name: 'cluster', include: ['test/cluster/**/*.test.ts'], testTimeout: 600_000 } },
      { test: { ...shared, name: 'rules', include: ['test/rules/**/*.test.ts'], testTimeout: 120_000 } },
      { test: { ...shared, name: 'chaos', include: ['test/chaos/**/*.test.ts'], testTimeout: 240_000 } },
      {
        test: {
          ...shared,
          name: 'stories',
          include: ['test/stories/**/*.test.ts'],
          // Each in a process of its own: what one leaves behind knocks at the ports of the next.
          isolate: true,
          testTimeout: 900_000,
          hookTimeout: 900_000,
        },
      },
    ],
  },
});
