import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { expect, test } from 'vitest';

/** What each part may import besides itself; `types` = only `import type`. `gateway.ts`, `main.ts`, `index.ts` and `cli/` know everyone. */
const star = ['core', 'protocol', 'identity', 'config', 'contracts'];
const mayImport: Record<string, readonly string[]> = {
  core: [],
  protocol: ['core'],
  identity: ['core', 'protocol'],
  config: ['core'],
  contracts: ['core', 'protocol', 'identity'],
  sdk: ['core', 'protocol'],
  certs: star,
  listeners: star,
  hub: star,
  bus: star,
  admin: star,
};
const libraryHomes: Record<string, RegExp> = {
  '@kubernetes/client-node': /^certs\/kube-/,
  '@peculiar/x509': /^(certs\/|sdk\/)/,
  '@currentspace/http3': /^(listeners\/quic|sdk)\//,
  '@fails-components/webtransport': /^(listeners\/webtransport|sdk)\//,
  '@prometheus-io/client': /^core\/metrics/,
  pino: /^core\/log/,
  ws: /^(listeners\/websocket|sdk)\//,
  fastify: /^(listeners\/https|admin)\//,
  jose: /^certs\//,
  zod: /^(config|admin)\//,
  '@nats-io': /^bus\//,
  commander: /^cli\//,
  preact: /^admin\/ui\//,
  htm: /^admin\/ui\//,
};

test('the parts of src import each other only as the star allows, and each library has one home', () => {
  const wrong: string[] = [];
  for (const file of globSync('src/**/*.{ts,js}')) {
    const [, from, importsOf] = [file, relative('src', file), readFileSync(file, 'utf8')];
    for (const [statement, target] of importsOf.matchAll(
      /^(?:import|export)[^;]*?from '([^']+)';|import\('([^']+)'\)/gm,
    )) {
      const part = from.includes('/') ? from.split('/')[0]! : undefined;
      if (target?.startsWith('.') && part && part in mayImport) {
        const to = relative('src', join(dirname(file), target)).split('/')[0]!;
        if (to !== part && !mayImport[part]!.includes(to)) wrong.push(`${from} imports ${to}`);
        if (part === 'contracts' && to !== part && !statement.startsWith('import type'))
          wrong.push(`${from} imports more than types of ${to}`);
      }
      const library = Object.keys(libraryHomes).find(
        (name) => target === name || target?.startsWith(`${name}/`),
      );
      if (library && part !== 'cli' && !libraryHomes[library]!.test(from))
        wrong.push(`${from} imports ${library}`);
    }
  }
  expect(wrong).toEqual([]);
});
