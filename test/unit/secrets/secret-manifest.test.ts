import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { isSallyportError } from '../../../src/core/errors.ts';
import {
  assertSecretName,
  MAX_SECRET_BYTES,
  parseSecretManifest,
  printSecretManifest,
} from '../../../src/secrets/secret-manifest.ts';
import { scaled } from '../../support/scale.ts';

const expected = { name: 'casecret', file: 'casecret.yaml' };
const read = (text: string) => parseSecretManifest(Buffer.from(text), expected);
const manifest = (...lines: string[]) =>
  ['apiVersion: v1', 'kind: Secret', 'metadata:', '  name: casecret', ...lines].join('\n');
const textOf = (text: string, key: string) => Buffer.from(read(text).secret.data[key]!).toString();
function problemOf(text: string | Uint8Array): string {
  try {
    parseSecretManifest(Buffer.from(text), expected);
  } catch (error) {
    if (isSallyportError(error, 'SECRET_MALFORMED')) return String(error.details.problem);
    throw error;
  }
  throw new Error('was taken for a good manifest');
}

const dataKey = fc
  .stringMatching(/^[-._a-zA-Z0-9]{1,40}$/)
  .filter((key) => key !== '.' && !key.startsWith('..'));
const secretData = fc.dictionary(dataKey, fc.uint8Array({ maxLength: 200 }), { maxKeys: 8 });

describe('printing', () => {
  test('every secret reads back as it was, byte for byte', () => {
    fc.assert(
      fc.property(secretData, fc.option(fc.constantFrom('Opaque', 'kubernetes.io/tls')), (data, type) => {
        const secret = { name: 'casecret', type: type ?? 'Opaque', data: { ...data } };
        const text = printSecretManifest(secret);
        expect(read(text).secret).toEqual(secret);
      }),
    );
  });

  test('means the same to a reader of YAML 1.1, as kubectl is', () => {
    fc.assert(
      fc.property(secretData, (data) => {
        const text = printSecretManifest({ name: 'casecret', data: { ...data } });
        const old = parse(text, { version: '1.1', schema: 'yaml-1.1', merge: false });
        expect(old).toMatchObject({
          apiVersion: 'v1',
          kind: 'Secret',
          metadata: { name: 'casecret' },
          type: 'Opaque',
        });
        const values = Object.entries(data).map(([key, value]) => [
          key,
          Buffer.from(value).toString('base64'),
        ]);
        expect(new Map(Object.entries(old.data))).toEqual(new Map(values as [string, string][]));
      }),
    );
    for (const key of ['on', 'y', 'null', 'true', '0x1F', '1e3', '123456', '1_000_000', '-._']) {
      const old = parse(printSecretManifest({ name: 'casecret', data: { [key]: Buffer.from('v') } }), {
        version: '1.1',
        mapAsMap: true,
      });
      expect([...old.get('data').keys()]).toEqual([key]);
    }
  });

  test('keeps labels, annotations and the namespace of what it replaces', () => {
    const text = manifest(
      '  namespace: kubeedge',
      '  labels: {app: sallyport}',
      '  annotations:',
      '    note: "yes: really"',
    );
    const { secret, metadata } = read(text);
    expect(metadata).toEqual({
      namespace: 'kubeedge',
      labels: { app: 'sallyport' },
      annotations: { note: 'yes: really' },
    });
    expect(read(printSecretManifest(secret, metadata))).toMatchObject({ secret, metadata });
  });
});

describe('reading what people write', () => {
  test('values in base64 may be wrapped over lines', () => {
    expect(textOf(manifest('data:', '  a: |', '    aGVs', '    bG8=', ''), 'a')).toBe('hello');
    expect(textOf(manifest('data:', '  a: >-', '    aGVs', '    bG8='), 'a')).toBe('hello');
  });

  test('stringData is plain text and wins over data', () => {
    const text = manifest('data: {a: b2xk, b: a2VwdA==}', 'stringData:', '  a: new ü');
    expect(textOf(text, 'a')).toBe('new ü');
    expect(textOf(text, 'b')).toBe('kept');
  });

  test('JSON, comments, a leading document marker and a byte order mark are fine', () => {
    expect(read('{"apiVersion":"v1","kind":"Secret","metadata":{"name":"casecret"}}').secret.data).toEqual(
      {},
    );
    expect(read(`\ufeff---\n# by hand\n${manifest('type: Opaque')}\n`).secret.type).toBe('Opaque');
  });

  test('a key named __proto__ is a key like others', () => {
    const { data } = read(manifest('data:', '  __proto__: aGk=')).secret;
    expect(Object.getPrototypeOf(data)).toBe(Object.prototype);
    expect(Object.keys(data)).toEqual(['__proto__']);
  });
});

describe('B7, A3: what is not whole is refused with the place and the kind of fault', () => {
  test.each([
    ['', 'it is empty'],
    ['# nothing yet\n', 'it is empty'],
    ['[]', 'it is not a mapping'],
    ['null', 'it is not a mapping'],
    ['kind: Secret', 'apiVersion is not v1'],
    ['apiVersion: v1\nkind: ConfigMap', 'kind is not Secret'],
    ['apiVersion: v1\nkind: Secret', 'metadata is missing'],
    [manifest().replace('casecret', 'other'), 'metadata.name is not casecret'],
    [manifest('type: 7'), 'type is not a string'],
    [manifest('data: 7'), 'data is not a mapping'],
    [manifest('data:'), 'data is not a mapping'],
    [manifest('data:', '  cadata:'), 'data.cadata is not a string'],
    [manifest('data:', '  cadata: aGVsb'), 'data.cadata is not whole base64'],
    [manifest('data:', '  cadata: "a!!="'), 'data.cadata is not whole base64'],
    [manifest('data:', '  cadata: 1234'), 'data.cadata is not a string'],
    [manifest('stringData:', '  a: [b]'), 'entry 1 of stringData is not a string'],
    [manifest('data:', '  "a b": aGk='), 'the key of entry 1 of data is not one that Kubernetes allows'],
    [manifest('data:', '  a: "aGk='), 'YAML error MISSING_CHAR in line 6'],
    [manifest('data:', '  a: aGk=', '  a: aGk='), 'YAML error DUPLICATE_KEY in line 7'],
    [`${manifest()}\n---\n${manifest()}`, 'it holds several documents'],
    [manifest('a: &x aGk=', 'data: {a: *x}'), 'it is not YAML in UTF-8 without aliases'],
  ])('%j', (text, problem) => {
    expect(problemOf(text)).toContain(problem);
    expect(problemOf(text)).toContain('casecret.yaml: ');
  });

  test('nesting without end', () => {
    expect(problemOf('{"a":'.repeat(20_000))).not.toBe('');
    expect(problemOf(`${'['.repeat(5_000)}${']'.repeat(5_000)}`)).not.toBe('');
  });

  test('bytes that are not UTF-8', () => {
    expect(problemOf(Buffer.concat([Buffer.from(manifest('data: {a: ')), Buffer.of(0xff, 0xfe)]))).toContain(
      'UTF-8',
    );
  });

  test('more than Kubernetes keeps in one secret', () => {
    const value = Buffer.alloc(MAX_SECRET_BYTES + 1).toString('base64');
    expect(problemOf(manifest(`data: {a: ${value}}`))).toContain(`larger than ${MAX_SECRET_BYTES} bytes`);
  });

  test('a manifest cut off anywhere is either refused or holds only whole values', () => {
    const data = { cadata: Buffer.from('certificate'), cakeydata: Buffer.from('a key, a longer one') };
    const whole = Buffer.from(printSecretManifest({ name: 'casecret', data }));
    for (let length = 0; length < whole.length; length++) {
      try {
        const read = parseSecretManifest(whole.subarray(0, length), expected).secret.data;
        for (const [key, value] of Object.entries(read))
          expect(Buffer.from(value)).toEqual(data[key as 'cadata']);
      } catch (error) {
        expect(error).toMatchObject({ code: 'SECRET_MALFORMED' });
      }
    }
  });
});

describe('I15: fuzzed manifests', () => {
  const survives = (content: Uint8Array) => {
    try {
      parseSecretManifest(content, expected);
    } catch (error) {
      expect(error).toMatchObject({ code: 'SECRET_MALFORMED' });
    }
  };

  test('bytes of any kind end in a secret or in SECRET_MALFORMED', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), survives), { numRuns: scaled(2_000, 50) });
  });

  test('so does any JSON document, and any text of the characters YAML is made of', () => {
    fc.assert(
      fc.property(fc.json(), (text) => survives(Buffer.from(text))),
      { numRuns: scaled(1_000, 50) },
    );
    const yamlish = fc.string({
      unit: fc.constantFrom(...'{}[]:-&*!|>\'"%@`#?, \n\ta1', '\u2028', '\u0000'),
      maxLength: 80,
    });
    fc.assert(
      fc.property(yamlish, (tail) => survives(Buffer.from(manifest(`data:\n  a: ${tail}`)))),
      { numRuns: scaled(3_000, 50) },
    );
  });

  test('A10: no error quotes what stands in the file, however it is broken', () => {
    const value = 'c2VjcmV0LXZhbHVlLXRoYXQtbXVzdC1ub3QtbGVhaw==';
    const good = manifest('data:', `  cakeydata: ${value}`, 'stringData:', '  tokendata: hunter2hunter2');
    fc.assert(
      fc.property(
        fc.nat(good.length),
        fc.nat(12),
        fc.string({ unit: fc.constantFrom(...'{}[]:-&*!|>\'"%#?, \n\t'), maxLength: 3 }),
        (at, removed, inserted) => {
          try {
            read(good.slice(0, at) + inserted + good.slice(at + removed));
          } catch (error) {
            const said = `${(error as Error).stack} ${JSON.stringify(error)} ${String((error as Error).cause)}`;
            expect(said).not.toMatch(/c2VjcmV0|ZhbHVl|hunter/);
          }
        },
      ),
      { numRuns: scaled(3_000, 50) },
    );
  });
});

test('names of secrets are DNS subdomains, so that none leads out of the folder', () => {
  for (const good of ['a', 'casecret', 'a-b.c-d', '0', 'x'.repeat(253)]) assertSecretName(good);
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'ab0.-/\\_A\0\n') }), (name) => {
      try {
        assertSecretName(name);
      } catch {
        return;
      }
      expect(name).toMatch(/^[ab0.-]+$/);
      expect(name).not.toContain('..');
      expect(name).not.toMatch(/^[.-]|[.-]$/);
    }),
  );
});
