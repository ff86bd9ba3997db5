import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { createProgram } from '../../src/cli/program.ts';
import { loadConfig } from '../../src/config/load.ts';
import { listSettings } from '../../src/config/settings.ts';
import { nodeProblem } from '../../src/sdk/supported-node.ts';
import { imageEntrypoint } from '../support/fleets/image.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

interface Service {
  readonly image: string;
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly healthcheck?: { readonly test?: readonly string[]; readonly disable?: boolean };
  readonly read_only?: boolean;
  readonly tmpfs?: readonly string[];
  readonly cap_drop?: readonly string[];
  readonly stop_grace_period?: string;
  readonly profiles?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
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

interface LockedPackage {
  readonly version: string;
  readonly dev?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}
const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
  packages: Record<string, LockedPackage>;
};
const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as {
  version: string;
  license: string;
  bin: Record<string, string>;
  dependencies: Record<string, string>;
  optionalDependencies: Record<string, string>;
  peerDependencies: Record<string, string>;
  engines: { node: string };
};

describe('package.json and its lockfile', () => {
  test('npm ci finds every optional package in the lockfile, also those of other platforms', () => {
    const missing = Object.entries(lock.packages).flatMap(([path, { optionalDependencies = {} }]) =>
      Object.keys(optionalDependencies).filter(
        (name) => !lock.packages[`${path}/node_modules/${name}`] && !lock.packages[`node_modules/${name}`],
      ),
    );
    expect(missing).toEqual([]);
  });

  test('every dependency is imported by src, and what src imports is a dependency', () => {
    const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((file) =>
      /\.[jt]s$/.test(file),
    );
    const text = files.map((file) => readFileSync(`src/${file}`, 'utf8')).join('\n');
    const imported = new Set(
      [...text.matchAll(/(?:from |import |import\()'((?:@[\w-]+\/)?[a-z][\w.-]*)(?:\/[^']*)?'/g)]
        .map(([, name]) => name!)
        .filter((name) => !isBuiltin(name)),
    );
    const declared = { ...manifest.dependencies, ...manifest.peerDependencies };
    expect([...imported].filter((name) => !(name in declared))).toEqual([]);
    const unused = Object.keys(declared).filter((name) => !imported.has(name));
    // What WebTransport needs may be named by variables.
    expect(unused.filter((name) => !name.startsWith('@fails-components/'))).toEqual([]);
    for (const name of Object.keys(manifest.dependencies))
      expect(lock.packages[`node_modules/${name}`]!.dev).toBeUndefined();
  });
});

describe('@sallyport/sdk', () => {
  test('V6: what it imports beside Node is ws and protobufjs; the rest only when it is first wanted', () => {
    const libraries = { needed: new Set<string>(), wanted: new Set<string>() };
    const seen = new Set<string>();
    const walk = (file: string): void => {
      if (seen.has(file)) return;
      seen.add(file);
      const imports = /^(?:import|export) (?!type )(?:[^;']*? from )?'([^']+)';|\bimport\('([^']+)'\)/gm;
      for (const [, now, later] of readFileSync(file, 'utf8').matchAll(imports)) {
        const name = (now ?? later)!;
        if (name.startsWith('.')) walk(join(dirname(file), name));
        else if (!isBuiltin(name)) libraries[now ? 'needed' : 'wanted'].add(name);
      }
    };
    walk('src/sdk/index.ts');
    expect([...libraries.needed].sort()).toEqual(['protobufjs/minimal.js', 'ws']);
    expect([...libraries.wanted].sort()).toEqual(['@currentspace/http3', '@fails-components/webtransport']);
  });

  test('V6: an older Node is told which one is needed, in one sentence', () => {
    for (const version of ['22.14.1', '20.19.0', '18.20.8'])
      expect(nodeProblem(version)).toContain(`needs Node 22.15.0 or newer, and this is Node ${version}`);
    expect(['22.15.0', '22.23.3', '24.0.0', '100.0.0'].map(nodeProblem)).toEqual(Array(4).fill(undefined));
  });
});

test('what is pinned is looked after: Dependabot proposes packages, base image and images of compose every week', () => {
  const { updates } = parse(readFileSync('.github/dependabot.yml', 'utf8')) as {
    updates: { 'package-ecosystem': string; schedule: { interval: string } }[];
  };
  expect(updates.map((one) => [one['package-ecosystem'], one.schedule.interval])).toEqual([
    ['npm', 'weekly'],
    ['docker', 'weekly'],
    ['docker-compose', 'weekly'],
  ]);
});

describe('Dockerfile', () => {
  test('builds in one stage and runs another, on a glibc base of the Node version the lockfile was made with, pinned by its digest', () => {
    const stages = instruction('FROM').map((stage) => {
      const [, image, name] = /^(\S+)(?: AS (\S+))?$/.exec(stage)!;
      return { image: image!, name };
    });
    const ours = new Set(stages.map(({ name }) => name));
    const foreign = stages.filter(({ image }) => !ours.has(image));
    expect(foreign.map(({ image }) => image)).toEqual([
      expect.stringMatching(/^node:24-bookworm-slim@sha256:[0-9a-f]{64}$/),
    ]);
    expect(stages.map(({ name }) => name)).toEqual(['base', 'build', undefined]);
    expect(manifest.engines.node).toBe('>=24');
    expect(instruction('RUN')[1]).toContain('--omit=dev');
    for (const peer of Object.keys(manifest.peerDependencies))
      expect(instruction('RUN')[1]).toContain(`mv /tmp/http3 node_modules/${peer}`);
  });

  test('runs as a user that is not root, and starts what the package calls its binary', async () => {
    expect(Number(instruction('USER')[0]!.split(':')[0])).toBeGreaterThan(0);
    const bin = manifest.bin.sallyport!.replace('./', '');
    expect(imageEntrypoint()[0]).toBe('node');
    expect(imageEntrypoint().at(-1)).toBe(bin);
    expect((await createProgram()).commands.map((command) => command.name())).toContain(
      (JSON.parse(instruction('CMD')[0]!) as string[])[0],
    );
  });

  test('preloads the allocator that it installs, by a name that is right on every platform', () => {
    expect(instruction('RUN').join()).toContain('--no-install-recommends libjemalloc2');
    expect(instruction('ENV').join()).toMatch(/\bLD_PRELOAD=libjemalloc\.so\.2(?=\s|$)/);
  });

  test('exposes exactly the default ports', () => {
    const ports = [
      `${config.https.port}/tcp`,
      `${config.websocket.port}/tcp`,
      `${config.quic.port}/udp`,
      `${config.tunnel.port}/tcp`,
      `${config.webtransport.port}/tcp`,
      // HTTP/3, where the library's native part is installed.
      `${config.webtransport.port}/udp`,
      `${config.admin.port}/tcp`,
    ];
    expect(instruction('EXPOSE')[0]!.split(' ').sort()).toEqual(ports.sort());
  });

  test('its labels say what it is, with the version of the package; sallyport is on the path', () => {
    const labels = Object.fromEntries(
      [
        ...instruction('LABEL')
          .join(' ')
          .matchAll(/([\w.]+)="([^"]*)"/g),
      ].map(([, name, value]) => [name!, value!]),
    );
    expect(labels).toMatchObject({
      'org.opencontainers.image.title': 'Sallyport',
      'org.opencontainers.image.licenses': manifest.license,
      'org.opencontainers.image.version': '$VERSION',
    });
    expect(instruction('ARG')).toContain(`VERSION=${manifest.version}`);
    expect(instruction('RUN').join(' ')).toContain('ln -s /app/dist/main.js /usr/local/bin/sallyport');
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

describe("Node's permission model", () => {
  const allowed = (words: readonly string[], kind: string) =>
    words.filter((word) => word.startsWith(`--allow-fs-${kind}=`)).map((word) => word.split('=')[1]!);
  const flags = imageEntrypoint().slice(1, -1);

  test('the image has it, with folders of its own and single files of /proc', () => {
    expect(flags[0]).toBe('--permission');
    const others = flags.slice(1).filter((flag) => !flag.startsWith('--allow-fs-'));
    expect(others).toEqual(['--max-semi-space-size=8']);
    expect(allowed(flags, 'write')).toEqual(['/var/lib/sallyport', '/var/lib/edge', '/run/sallyport']);
    for (const path of allowed(flags, 'read')) {
      expect(path).not.toContain('*');
      // /proc/self/root is the whole file system.
      expect(path).not.toMatch(/^\/(proc(\/(self|\d+))?)?$/);
    }
  });

  test('L7: the health check looks at the file that the gateway writes, which it may, also with a read-only root', () => {
    const [, file] = /SALLYPORT_HEALTH_FILE=(\S+)/.exec(dockerfile)!;
    expect(instruction('HEALTHCHECK')[0]).toContain(`find ${file} `);
    const folder = dirname(file!);
    expect(allowed(flags, 'write')).toContain(folder);
    expect(instruction('RUN').join()).toContain(` ${folder} `);
    expect(gateway.read_only).toBe(true);
    const [user] = instruction('USER');
    const [uid, gid] = user!.split(':');
    expect(gateway.tmpfs).toContain(`${folder}:uid=${uid},gid=${gid},mode=0700`);
    // That of the image is in force.
    expect(gateway.healthcheck).toBeUndefined();
  });

  test('it lets in what the compose file, chart and manifests mount', () => {
    const mounts = Object.values(compose.services).flatMap(({ volumes = [] }) =>
      volumes.map((volume) => volume.split(':')[1]!),
    );
    for (const file of ['helm/sallyport/templates/deployment.yaml', 'kustomize/deployment.yaml'])
      for (const [, path] of readFileSync(`deploy/${file}`, 'utf8').matchAll(/mountPath: (\S+)/g))
        mounts.push(path!);
    // What nobody of ours uses: libraries may look for it.
    for (const path of mounts.filter((mount) => mount !== '/tmp'))
      expect(
        allowed(flags, 'read').some((folder) => `${path}/`.startsWith(`${folder}/`)),
        path,
      ).toBe(true);
  });

  test('the systemd unit has that of the image, without what only containers have', () => {
    const unit = readFileSync('deploy/systemd/sallyport.service', 'utf8').replaceAll('\\\n', ' ');
    const words = /^ExecStart=(.*)$/m.exec(unit)![1]!.split(/\s+/);
    const ofContainers =
      /=(\/run\/join|\/run\/sallyport|\/var\/lib\/edge|\/proc\/1\/stat|\/etc\/sallyport-nats|\/var\/run\/secrets\/.*)$/;
    expect(words.slice(1, -2)).toEqual(
      flags
        .filter((flag) => !ofContainers.test(flag))
        .map((flag) => flag.replace('=/app', '=/opt/sallyport')),
    );
    expect(words.slice(-2)).toEqual([
      expect.stringMatching(/^\/opt\/sallyport\/.*\/dist\/main\.js$/),
      'serve',
    ]);
    const env = Object.fromEntries(
      [...unit.matchAll(/^Environment=(SALLYPORT_\w+)=(\S+)$/gm)].map(([, name, value]) => [name!, value!]),
    );
    expect(allowed(words, 'write')).toEqual([loadConfig({ env }).config.secretStore.path]);
    expect(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)![1]) * 1000).toBeGreaterThan(
      config.limits.stopTimeoutMs,
    );
  });

  test.skipIf(!existsSync('/usr/bin/systemd-analyze'))(
    'systemd understands every line of the unit, and finds little left to lock',
    () => {
      const folder = temporaryFolder();
      const file = join(folder, 'sallyport.service');
      const unit = readFileSync('deploy/systemd/sallyport.service', 'utf8');
      // Node may be elsewhere on this machine.
      writeFileSync(file, unit.replace('/usr/bin/node', process.execPath));
      const analyze = (...words: string[]) =>
        spawnSync('systemd-analyze', [...words, file], { encoding: 'utf8' });
      const verified = analyze('verify');
      const security = analyze('security', '--offline=true', '--no-pager', '--threshold=20');
      expect([verified.status, verified.stderr]).toEqual([0, '']);
      expect(security.status, security.stdout.split('\n').at(-2)).toBe(0);
    },
  );
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

  test('commands exist in the command line, and the grace period covers the drain', async () => {
    const program = await createProgram();
    for (const { command } of Object.values(compose.services)) {
      let at = program;
      for (const word of command ?? []) {
        const child = at.commands.find((candidate) => candidate.name() === word);
        if (child) at = child;
        else if (word.startsWith('--')) expect(at.options.map(({ long }) => long)).toContain(word);
      }
    }
    expect(Number.parseInt(gateway.stop_grace_period!, 10) * 1000).toBeGreaterThan(
      config.limits.stopTimeoutMs,
    );
  });

  const gateways = Object.entries(compose.services).filter(([, { command }]) => command?.[0] === 'serve');
  const edges = Object.entries(compose.services).filter(([, { command }]) => command?.[0] === 'edge');
  const flagOf = (command: readonly string[], flag: string) => command[command.indexOf(flag) + 1]!;

  test('without a profile there are one gateway and two edges, with the profile two and three', () => {
    const count = (services: typeof gateways, profile?: string) =>
      services.filter(([, { profiles = [] }]) => profiles.length === 0 || profiles.includes(profile ?? ''))
        .length;
    expect([count(gateways), count(edges)]).toEqual([1, 2]);
    expect([count(gateways, 'two'), count(edges, 'two')]).toEqual([2, 3]);
  });

  test('gateways on one folder advertise the same names, all of theirs among them, and publish different ports', () => {
    const addresses = gateways.map(([, { environment }]) => environment!.SALLYPORT_ADVERTISE_ADDRESSES!);
    expect(new Set(addresses).size).toBe(1);
    for (const [name, { volumes, stop_grace_period }] of gateways) {
      expect(addresses[0]!.split(',')).toContain(name);
      expect(volumes).toEqual(gateway.volumes);
      expect(stop_grace_period).toBe(gateway.stop_grace_period);
    }
    const published = gateways.flatMap(([, { ports }]) => ports!.map((port) => port.replace(/:\d+\/.*/, '')));
    expect(new Set(published).size).toBe(published.length);
  });

  test('an edge waits for its token, calls a gateway that exists, and keeps its key in a volume of its own', () => {
    for (const [name, { command, depends_on, volumes }] of edges) {
      expect(depends_on).toMatchObject({ token: { condition: 'service_completed_successfully' } });
      expect(flagOf(command!, '--node')).toBe(name);
      expect(gateways.map(([known]) => known)).toContain(flagOf(command!, '--hub'));
      const token = flagOf(command!, '--token-file');
      expect(volumes!.some((volume) => token.startsWith(volume.split(':')[1]!))).toBe(true);
      const folder = flagOf(command!, '--directory');
      expect(volumes!.filter((volume) => folder.startsWith(`${volume.split(':')[1]}/`))).toEqual([
        `${name}:/var/lib/edge`,
      ]);
      expect(volumes!.some((volume) => volume.startsWith('secrets'))).toBe(false);
    }
  });

  test('over NATS both gateways are replicas of one hub, named differently, at a server that is there', () => {
    const overlay = parse(readFileSync('docker-compose.nats.yml', 'utf8'), { merge: true }) as {
      services: Record<string, Service & { readonly hostname?: string }>;
    };
    const { nats, ...replicas } = overlay.services;
    expect(nats).toMatchObject({
      image: expect.stringMatching(/^nats:\d+\.\d+\.\d+-alpine$/),
      read_only: true,
      cap_drop: ['ALL'],
    });
    expect(Object.keys(replicas)).toEqual(gateways.map(([name]) => name));
    for (const [name, { environment, hostname }] of Object.entries(replicas)) {
      expect(hostname).toBe(name);
      const loaded = loadConfig({ env: environment! });
      expect(loaded.warnings).toEqual([]);
      expect(loaded.config.bus.kind).toBe('nats');
      expect(loaded.config.bus.nats.servers).toEqual(['nats://nats:4222']);
      expect(environment).toMatchObject(gateway.environment!);
    }
  });

  test('in front of the stand-in for CloudCore: what it needs is mounted, and the settings load', () => {
    const overlay = parse(readFileSync('docker-compose.cloudcore.yml', 'utf8')) as {
      services: Record<'gateway' | 'cloudcore', Service & { readonly build?: { readonly target: string } }>;
    };
    const { gateway: front, cloudcore } = overlay.services;
    const { config: loaded, warnings } = loadConfig({
      env: { ...gateway.environment, ...front.environment },
    });
    expect([warnings, loaded.tunnel.enabled, loaded.upstream.kind]).toEqual([[], true, 'cloudcore']);
    expect(loaded.upstream.addresses).toEqual(['cloudcore:10000']);
    expect(cloudcore.environment!.CLOUDCORE_NAMES).toBe('cloudcore');
    expect(front.ports).toEqual([`${loaded.tunnel.port}:${loaded.tunnel.port}/tcp`]);
    expect(instruction('FROM')[1]).toMatch(new RegExp(` AS ${cloudcore.build!.target}$`));
    expect(cloudcore).toMatchObject({ read_only: true, cap_drop: ['ALL'] });
    // Beside src, which the image's first stage has, the program imports what is mounted, and nothing else.
    const mounted = cloudcore.volumes!.map((volume) => volume.split(':')[0]!.replace('./', ''));
    const imports = [
      'examples/cloudcore/cloudcore.ts',
      ...readdirSync('test/support/cloudcore')
        .filter((file) => /^(fake-cloudcore|fake-api|answers)\.ts$/.test(file))
        .map((file) => `test/support/cloudcore/${file}`),
    ].flatMap((file) =>
      [...readFileSync(file, 'utf8').matchAll(/^import (?!type)[^;]*'(\.[^']*)';$/gm)].map(([, path]) =>
        join(dirname(file), path!),
      ),
    );
    const reachable = (path: string) => ['src', ...mounted].some((folder) => path.startsWith(`${folder}/`));
    expect(imports.filter((path) => !reachable(path))).toEqual([]);
  });

  test('only gateways have the health check of a gateway', () => {
    for (const [name, { healthcheck }] of Object.entries(compose.services))
      if (!gateways.some(([known]) => known === name)) expect(healthcheck).toEqual({ disable: true });
  });
});
