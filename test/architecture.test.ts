import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { expect, test } from 'vitest';
import { ERRORS } from '../src/core/error-table.ts';

/** The hub of the star: what every ray may import. */
const star = ['core', 'protocol', 'identity', 'config', 'contracts'];
/** What each part may import besides itself. `gateway`, `cli`, `main.ts` and `index.ts` know everyone. */
const mayImport: Record<string, readonly string[]> = {
  core: [],
  protocol: ['core'],
  identity: ['core', 'protocol'],
  config: ['core'],
  contracts: ['core', 'protocol', 'identity'],
  sdk: ['core', 'protocol'],
  // The rays. They never import each other; `nats` is the one connection that bus and fleet share.
  secrets: star,
  audit: star,
  certs: star,
  history: star,
  listeners: star,
  hub: star,
  relay: star,
  admin: star,
  nats: star,
  bus: [...star, 'nats'],
  fleet: [...star, 'nats'],
  // Above the star.
  backup: [...star, 'certs', 'secrets'],
  selfcheck: [...star, 'certs', 'sdk'],
};
/** The floors of `certs/`, lowest first; a folder imports only from floors below its own. */
const certsFloors = [
  ['x509'],
  ['ca'],
  ['bundle', 'enrolment', 'revocation', 'rollover'],
  ['current-certificates.ts'],
  ['prepare-all-certs.ts'],
  ['certificate-manager.ts'],
];
const libraryHomes: Record<string, RegExp> = {
  '@kubernetes/client-node': /^secrets\/kubernetes\//,
  '@peculiar/x509': /^(certs|backup)\//,
  '@currentspace/http3': /^(listeners\/quic|sdk|protocol)\//,
  '@fails-components/webtransport': /^(listeners\/webtransport|sdk)\//,
  '@prometheus-io/client': /^core\/metrics/,
  pino: /^core\/pino-log/,
  ws: /^(listeners\/(websocket|tunnel)|relay|sdk)\//,
  fastify: /^(listeners\/https|admin)\//,
  jose: /^certs\//,
  zod: /^core\/zod/,
  '@nats-io': /^(nats|bus\/nats|fleet)\//,
  commander: /^cli\/commander/,
  preact: /^admin\/ui\//,
  htm: /^admin\/ui\//,
};

interface Import {
  readonly from: string;
  readonly statement: string;
  /** Path below src/, or the name of a library. */
  readonly to: string;
  readonly isLibrary: boolean;
}

const imports: readonly Import[] = globSync('src/**/*.{ts,js}').flatMap((file) =>
  [
    ...readFileSync(file, 'utf8').matchAll(
      /^(?:import|export)[^;]*?from '([^']+)';|^import '([^']+)';|import\('([^']+)'\)/gm,
    ),
  ].map(([statement, named, bare, lazy]) => {
    const target = (named ?? bare ?? lazy)!;
    const isLibrary = !target.startsWith('.');
    return {
      from: relative('src', file),
      statement,
      to: isLibrary ? target : relative('src', join(dirname(file), target)),
      isLibrary,
    };
  }),
);
const inner = imports.filter(({ isLibrary }) => !isLibrary);
const partOf = (file: string) => (file.includes('/') ? file.split('/')[0]! : undefined);

test('the parts of src import each other only as the star allows', () => {
  const wrong = inner.flatMap(({ from, to, statement }) => {
    const [part, other] = [partOf(from), partOf(to)];
    if (!part || !other || part === other || !(part in mayImport)) return [];
    if (!mayImport[part]!.includes(other)) return [`${from} imports ${to}`];
    if (part === 'contracts' && !statement.startsWith('import type'))
      return [`${from} imports more than types of ${to}`];
    return [];
  });
  expect(wrong).toEqual([]);
});

test('every folder of src has its place in the rule', () => {
  const parts = new Set(globSync('src/*/').map((folder) => relative('src', folder)));
  expect([...parts].filter((part) => !(part in mayImport)).sort()).toEqual(['cli', 'gateway']);
});

test('inside certs/, nothing imports from its own floor or from above', () => {
  const floorOf = (file: string) => {
    const room = file.split('/')[1]!;
    return { room, floor: certsFloors.findIndex((rooms) => rooms.includes(room)) };
  };
  const wrong = inner
    .filter(({ from, to }) => partOf(from) === 'certs' && partOf(to) === 'certs')
    .filter(({ from, to }) => {
      const [own, other] = [floorOf(from), floorOf(to)];
      return own.room !== other.room && (own.floor <= other.floor || other.floor === -1);
    });
  expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
});

test('no file imports itself in a circle, not even for types', () => {
  const targets = Map.groupBy(inner, ({ from }) => from);
  const done = new Set<string>();
  const circles: string[] = [];
  const walk = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file].join(' → '));
    if (path.includes(file) || done.has(file)) return;
    for (const { to } of targets.get(file) ?? []) walk(to, [...path, file]);
    done.add(file);
  };
  for (const file of targets.keys()) walk(file, []);
  expect(circles).toEqual([]);
});

test('no function of the composition root has more than 60 lines', () => {
  const tooLarge = globSync('src/gateway/*.ts').flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/^(?:export )?(?:async )?function (\w+)[\s\S]*?^}$/gm)].flatMap(
      ([text, name]) => {
        const lines = text.split('\n').length;
        return lines > 60 ? [`${file}: ${name} has ${lines}`] : [];
      },
    ),
  );
  expect(tooLarge).toEqual([]);
});

test('each third-party library has one home', () => {
  const wrong = imports
    .filter(({ isLibrary }) => isLibrary)
    .filter(({ from, to }) => {
      const library = Object.keys(libraryHomes).find((name) => to === name || to.startsWith(`${name}/`));
      return library && partOf(from) !== 'cli' && !libraryHomes[library]!.test(from);
    });
  expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
});

test('each error of the table happens somewhere', () => {
  const code = globSync('src/**/*.ts', { exclude: ['src/core/error-table.ts'] })
    .map((file) => readFileSync(file, 'utf8'))
    .join('\n');
  expect(Object.keys(ERRORS).filter((name) => !code.includes(`'${name}'`))).toEqual([]);
});

test('comments and prose have at most 110 columns', () => {
  const isComment = /^\s*(\*|\/\/|\/\*)/;
  const code = globSync('{src,test,bench,tools,examples}/**/*.{ts,js}').flatMap((file) =>
    tooLong(file).filter(({ line }) => isComment.test(line)),
  );
  const prose = globSync(['*.md', 'docs/**/*.md', 'certs-dev/*.md', 'examples/**/*.md', 'deploy/**/*.md'])
    .filter((file) => !file.includes('node_modules'))
    .flatMap((file) => {
      let isCode = false;
      return tooLong(file, (line) => {
        if (line.trimStart().startsWith('```')) isCode = !isCode;
        // Tables, pictures and addresses cannot be wrapped.
        return isCode || /^\s*(\||!?\[[^\]]*\][(:]|<| {4})/.test(line);
      });
    });
  expect([...code, ...prose].map(({ where }) => where)).toEqual([]);
});

function tooLong(file: string, isFree: (line: string) => boolean = () => false) {
  return readFileSync(file, 'utf8')
    .split('\n')
    .map((line, index) => ({ line, where: `${file}:${index + 1}`, isFree: isFree(line) }))
    .filter(({ line, isFree }) => line.length > 110 && !isFree);
}
