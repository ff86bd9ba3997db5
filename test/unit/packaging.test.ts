import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { createProgram } from '../../src/cli/program.ts';
import { loadConfig } from '../../src/config/load.ts';
import { listSettings } from '../../src/config/settings.ts';

interface Service {
  readonly image: string;
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly stop_grace_period?: string;
}

const { config } = loadConfig();
const dockerfile = readFileSync('Dockerfile', 'utf8');
const compose = parse(readFileSync('docker-compose.yml', 'utf8'), { merge: true }) as {
  services: Record<string, Service>;
  volumes: Record<string, unknown>;
};
const gateway = compose.services.gateway!;
const instruction = (name: string) =>
  [...dockerfile.replaceAll('\\\n', ' ').matchAll(new RegExp(`^${name} (.*)$`, 'gm'))].map(
    ([, rest]) => rest!,
  );

describe('Dockerfile', () => {
  test('builds in one stage and runs another, on a glibc base of the Node version the lockfile was made with', () => {
    const stages = instruction('FROM');
    expect(stages).toHaveLength(2);
    for (const stage of stages) expect(stage).toMatch(/^node:24-bookworm-slim/);
    expect(instruction('RUN')[1]).toContain('--omit=dev');
  });

  test('runs as a user that is not root, and starts what the package calls its binary', () => {
    expect(Number(instruction('USER')[0]!.split(':')[0])).toBeGreaterThan(0);
    const bin = (
      JSON.parse(readFileSync('package.json', 'utf8')) as { bin: Record<string, string> }
    ).bin.sallyport!.replace('./', '');
    expect(JSON.parse(instruction('ENTRYPOINT')[0]!)).toEqual(['node', bin]);
    expect(createProgram().commands.map((command) => command.name())).toContain(
      (JSON.parse(instruction('CMD')[0]!) as string[])[0],
    );
    expect(instruction('HEALTHCHECK')[0]).toContain(`"node", "${bin}", "health"`);
  });

  test('exposes exactly the default ports', () => {
    const ports = [
      `${config.https.port}/tcp`,
      `${config.websocket.port}/tcp`,
      `${config.quic.port}/udp`,
      `${config.webtransport.port}/tcp`,
      // HTTP/3, where the library's native part is installed.
      `${config.webtransport.port}/udp`,
      `${config.admin.port}/tcp`,
    ];
    expect(instruction('EXPOSE')[0]!.split(' ').sort()).toEqual(ports.sort());
  });

  test('every SALLYPORT_ variable it sets is a setting', () => {
    const names = [
      ...instruction('ENV')
        .join(' ')
        .matchAll(/(SALLYPORT_\w+)=/g),
    ].map(([, name]) => name);
    expect(names.length).toBeGreaterThan(0);
    for (const name of names) expect(listSettings().map(({ env }) => env)).toContain(name);
  });
});

describe('docker-compose.yml', () => {
  test('publishes the default ports, the admin port to this machine only', () => {
    expect(gateway.ports).toEqual([
      `${config.https.port}:${config.https.port}/tcp`,
      `${config.websocket.port}:${config.websocket.port}/tcp`,
      `${config.quic.port}:${config.quic.port}/udp`,
      `127.0.0.1:${config.admin.port}:${config.admin.port}/tcp`,
    ]);
  });

  test('environment holds settings only, and they load', () => {
    for (const service of Object.values(compose.services)) {
      const env = service.environment ?? {};
      expect(loadConfig({ env }).warnings).toEqual([]);
    }
    expect(loadConfig({ env: gateway.environment! }).config.advertise.addresses).toContain('gateway');
  });

  test('every container has a read-only root and no capability, and every named volume is declared', () => {
    for (const service of Object.values(compose.services)) {
      expect(service.read_only).toBe(true);
      expect(service.cap_drop).toEqual(['ALL']);
      for (const volume of service.volumes ?? [])
        expect(Object.keys(compose.volumes)).toContain(volume.split(':')[0]);
    }
    expect(gateway.volumes![0]).toContain(/SALLYPORT_SECRET_STORE_PATH=(\S+)/.exec(dockerfile)![1]);
  });

  test('commands and health check exist in the command line, and the grace period covers the drain', () => {
    const program = createProgram();
    for (const { command } of Object.values(compose.services)) {
      let at = program;
      for (const word of command ?? []) {
        const child = at.commands.find((candidate) => candidate.name() === word);
        if (child) at = child;
        else if (word.startsWith('--')) expect(at.options.map(({ long }) => long)).toContain(word);
      }
    }
    expect(gateway.healthcheck!.test).toEqual(['CMD', 'node', 'dist/main.js', 'health']);
    expect(Number.parseInt(gateway.stop_grace_period!, 10) * 1000).toBeGreaterThan(
      config.limits.stopTimeoutMs,
    );
  });
});
