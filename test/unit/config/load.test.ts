import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LiveConfig } from '../../../src/config/live-config.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { configJsonSchema, listSettings } from '../../../src/config/settings.ts';
import { silentLogger } from '../../../src/core/log.ts';
import { eventually } from '../../support/eventually.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-config-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const write = (text: string) => {
  const file = join(folder, 'gateway.yaml');
  writeFileSync(file, text);
  return file;
};

describe('configuration', () => {
  test('defaults alone are a complete, frozen configuration', () => {
    const { config, origins } = loadConfig();
    expect(config.https.port).toBe(10_002);
    expect(Object.isFrozen(config.hub.queue)).toBe(true);
    expect(Object.isFrozen(config)).toBe(true);
    expect(structuredClone(config)).toEqual(configSchema.parse({}));
    expect(origins.size).toBe(0);
  });

  test('what is wrong is told of every section at once, in the order of the schema, then what is unknown', () => {
    const file = write('upstrem: 1\nlog:\n  level: loud\nhttps: 5\nhub:\n  window: 0\n  windw: 1\n');
    const refused = () => loadConfig({ file, env: { SALLYPORT_AUDIT_FILES: 'x' } });
    expect(refused).toThrow(
      [
        `${file}:4: https: it is no object`,
        `${file}:6: hub.window: it has to be at least 1`,
        `${file}:7: unknown key hub.windw; did you mean window?`,
        'SALLYPORT_AUDIT_FILES: audit.files: it is no number',
        `${file}:3: log.level: invalid option: expected one of "trace"|"debug"|"info"|"warn"|"error"|"silent"`,
        `${file}:1: unknown key upstrem; did you mean upstream?`,
      ].join('; '),
    );
    for (const text of ['[]', '5', 'text', '""'])
      expect(() => loadConfig({ file: write(text) })).toThrow('the document: it is no object');
  });

  test('flags win over environment, environment over file, file over defaults, and each value knows its origin', () => {
    const file = write(
      'apiVersion: sallyport/v1\nkind: Gateway\nhttps:\n  port: 1\nwebsocket:\n  port: 1\nadmin:\n  port: 1\n',
    );
    const env = {
      SALLYPORT_WEBSOCKET_PORT: '2',
      SALLYPORT_ADMIN_PORT: '2',
      SALLYPORT_ADVERTISE_ADDRESSES: 'a.example, 10.0.0.1',
    };
    const { config, origins } = loadConfig({ file, env, flags: { 'admin.port': '3' } });
    expect([config.https.port, config.websocket.port, config.admin.port]).toEqual([1, 2, 3]);
    expect(config.advertise.addresses).toEqual(['a.example', '10.0.0.1']);
    expect(origins.get('https.port')).toBe(`${file}:4`);
    expect(origins.get('websocket.port')).toBe('SALLYPORT_WEBSOCKET_PORT');
    expect(origins.get('admin.port')).toBe('--set admin.port');
  });

  test('an unknown key is refused with file, line and the nearest known key', () => {
    const file = write('https:\n  prot: 5\n');
    expect(() => loadConfig({ file })).toThrow(`${file}:2: unknown key https.prot; did you mean port?`);
  });

  test('a wrong value is refused with its place, wherever it came from', () => {
    const file = write('hub:\n  nodeLimit: many\n');
    expect(() => loadConfig({ file })).toThrow(`${file}:2: hub.nodeLimit`);
    expect(() => loadConfig({ env: { SALLYPORT_HTTPS_PORT: 'x' } })).toThrow(
      'SALLYPORT_HTTPS_PORT: https.port',
    );
    for (const [path, text, problem] of [
      ['https.port', 'x', 'it is no number'],
      ['https.port', '1.5', 'it is no whole number'],
      ['https.port', '70000', 'it has to be at most 65535'],
      ['certificates.graceDays', '-1', 'it has to be at least 0'],
      ['certificates.hubDays', '0', 'it has to be more than 0'],
      ['https.enabled', 'on', 'it is neither true nor false'],
      ['bus.nats.servers', '["nats://a:4222"]', 'write nats://host:port'],
      ['bus.nats.servers', 'nats://user:secret@a:4222', 'credentials have settings of their own'],
      ['bus.nats.servers', 'http://a', 'write nats://host:port'],
    ] as const)
      expect(() => loadConfig({ flags: { [path]: text } })).toThrow(problem);
    expect(loadConfig({ flags: { 'bus.nats.servers': 'nats://a:4222,tls://[::1]:4222, b' } })).toMatchObject({
      config: { bus: { nats: { servers: ['nats://a:4222', 'tls://[::1]:4222', 'b'] } } },
    });
    expect(() => loadConfig({ flags: { 'htps.port': '1' } })).toThrow('did you mean https.port?');
  });

  test.each([
    ['X25519MLKEM1024:X25519', 'it holds X25519MLKEM1024; '],
    ['X25519:P256', 'it holds P256; '],
    ['X25519::P-256', 'it holds an empty name; '],
    ['', 'it holds an empty name; '],
    ['ffdhe2048', 'it holds ffdhe2048; '],
    ['constructor', 'it holds constructor; '],
    ['P-256:P-256', 'it holds P-256 twice'],
  ])('L6: tls.groups %s is refused with what is wrong and what is known', (groups, problem) => {
    const refused = () => loadConfig({ env: { SALLYPORT_TLS_GROUPS: groups } });
    expect(refused).toThrow(`SALLYPORT_TLS_GROUPS: tls.groups: ${problem}`);
    if (problem.endsWith('; ')) expect(refused).toThrow('know X25519MLKEM768, SecP256r1MLKEM768, ');
  });

  test('L6: tls.groups begins with a post-quantum group', () => {
    expect(loadConfig().config.tls.groups).toBe('X25519MLKEM768:X25519:P-256:P-384');
    expect(loadConfig({ flags: { 'tls.groups': 'P-384' } }).config.tls.groups).toBe('P-384');
  });

  test('broken YAML and a missing file say so', () => {
    expect(() => loadConfig({ file: write('a: [') })).toThrow('gateway.yaml:');
    expect(() => loadConfig({ file: join(folder, 'none.yaml') })).toThrow(
      'cannot read the configuration file',
    );
  });

  test("an unknown variable is a warning, Kubernetes' service links are not", () => {
    const { warnings } = loadConfig({
      env: {
        SALLYPORT_LOG_LEVLE: 'x',
        SALLYPORT_SERVICE_HOST: '10.0.0.1',
        SALLYPORT_PORT_10002_TCP_ADDR: 'x',
      },
    });
    expect(warnings).toEqual([
      'environment variable SALLYPORT_LOG_LEVLE is no setting; did you mean SALLYPORT_LOG_LEVEL?',
    ]);
  });

  test('every setting is documented and the JSON Schema refuses unknown keys', () => {
    expect(listSettings().filter(({ description }) => description === '')).toEqual([]);
    expect(configJsonSchema().additionalProperties).toBe(false);
  });

  test('settings are those of the JSON Schema, with the same types, words and defaults', () => {
    interface Node {
      readonly type?: string;
      readonly anyOf?: readonly Node[];
      readonly properties?: Record<string, Node>;
      readonly enum?: readonly string[];
      readonly const?: string;
      readonly default?: unknown;
      readonly description?: string;
      readonly live?: boolean;
    }
    const flat = (node: Node, path: readonly string[] = []): object[] =>
      node.properties
        ? Object.entries(node.properties).flatMap(([key, child]) => flat(child, [...path, key]))
        : [
            {
              path: path.join('.'),
              type: node.type ?? node.anyOf?.[0]?.type,
              allowed: node.enum ?? (node.const === undefined ? undefined : [node.const]),
              default: node.default,
              description: node.description,
              live: node.live ?? false,
            },
          ];
    const known = listSettings().map(({ env: _, allowed, ...setting }) => ({ ...setting, allowed }));
    expect(known).toEqual(flat(configJsonSchema()));
  });

  test('a reload takes over what is live, reports what is not, and ignores an invalid file', () => {
    const file = write('log:\n  level: info\n');
    const live = new LiveConfig({ log: silentLogger }, loadConfig({ file }), { file });
    write('log:\n  level: debug\nhttps:\n  port: 7\n');
    expect(live.reload()).toEqual({ applied: ['log.level'], needRestart: ['https.port'] });
    expect([live.current.log.level, live.current.https.port]).toEqual(['debug', 10_002]);
    write('log:\n  level: loud\n');
    expect(live.reload().problem).toContain('log.level');
    expect(live.current.log.level).toBe('debug');
  });

  test('a change between the load and the first look is taken over, and each one after it', async () => {
    const file = write('log:\n  level: info\n');
    const live = new LiveConfig({ log: silentLogger }, loadConfig({ file }), { file });
    write('log:\n  level: debug\n');
    live.watch();
    await eventually('the first', () => live.current.log.level === 'debug');
    write('log:\n  level: warn\n');
    await eventually('the second', () => live.current.log.level === 'warn');
    live.unwatch();
  });
});
