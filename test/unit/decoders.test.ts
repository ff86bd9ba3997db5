import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { allDecoders, type Decoder } from '../support/decoders.ts';
import { scaled } from '../support/scale.ts';

const decoders = await allDecoders();
/** Of processor time, milliseconds, for any input that reaches a decoder. */
const MAX_CPU_MS = 50;
/** What reading may take of memory: so much, and so many times its input. */
const MAX_MEMORY = { bytes: 16 * 1024 * 1024, times: 64 };

/** Begins its name as a decoder, and is given no bytes of somebody else's. */
const NO_DECODERS: Readonly<Record<string, string>> = {
  'src/listeners/https/request-body.ts readBody': 'collects bytes; who reads them is in the list',
  'src/secrets/directory/secret-files.ts readWhole': 'reads a file; its content goes to parseSecretManifest',
  'src/cli/lines.ts readLines': 'cuts within a bound; what a line says is not its business',
  'src/cli/doctor/edge-target.ts readEdgeTarget': 'reads files; their content goes to decoders of the list',
  'src/cli/backup/passphrase.ts readPassphrase': 'reads a line of the terminal or of a file',
  'src/cli/backup/backup-file.ts readBackupFile': 'reads a file; its content goes to decodeBackup',
  'src/audit/read-audit.ts readAudit': 'reads files that the gateway wrote, for the command line alone',
  'src/backup/backup-record.ts readBackupRecord': 'asks the store',
  'src/backup/backup-content.ts readForBackup': 'asks the store',
  'src/backup/restore-backup.ts readLiving': 'asks the store',
};

test('I15: whatever is called a decoder in src is in the list of decoders', () => {
  const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
  const listed = new Set(Object.values(decoders).flatMap(({ names }) => names));
  const missing: string[] = [];
  const found = new Set<string>();
  for (const file of globSync('src/**/*.ts', { cwd: root })) {
    const source = readFileSync(join(root, file), 'utf8');
    for (const [, name] of source.matchAll(/^export (?:async )?function ((?:decode|parse|read)[A-Z]\w*)/gm)) {
      found.add(name!);
      if (!listed.has(name!) && !(`${file} ${name}` in NO_DECODERS)) missing.push(`${file} ${name}`);
    }
  }
  expect(missing, 'add them to test/support/decoders.ts').toEqual([]);
  expect(
    [...listed].filter((name) => !found.has(name)),
    'these are gone',
  ).toEqual([]);
});

test.each(Object.entries(decoders))('I15: %s: what is right is read', async (_, { samples, decode }) => {
  for (const sample of samples) await decode(Buffer.from(sample as string));
});

test.each(Object.entries(decoders))(
  'I15, N2: %s: any input is read or refused in its own words, in little time and memory',
  async (_, decoder) => {
    const check = async (input: Uint8Array) => {
      const cost = await leastCost(decoder, Buffer.from(input));
      // Three times as wide as the requirement: others may use the machine.
      expect(cost.cpuMs).toBeLessThanOrEqual(3 * (decoder.maxCpuMs ?? MAX_CPU_MS));
      expect(cost.bytes).toBeLessThanOrEqual(MAX_MEMORY.bytes + MAX_MEMORY.times * input.length);
    };
    await fc.assert(fc.asyncProperty(inputsOf(decoder), check), { numRuns: scaled(300, 20) });
  },
);

interface Cost {
  readonly cpuMs: number;
  readonly bytes: number;
}

/** The best of three: no machine is measured. */
async function leastCost(decoder: Decoder, input: Buffer): Promise<Cost> {
  let best: Cost = { cpuMs: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY };
  for (let attempt = 0; attempt < 3; attempt++) {
    const cost = await costOf(decoder, input);
    best = { cpuMs: Math.min(best.cpuMs, cost.cpuMs), bytes: Math.min(best.bytes, cost.bytes) };
    if (best.cpuMs <= MAX_CPU_MS && best.bytes <= MAX_MEMORY.bytes) break;
  }
  return best;
}

async function costOf({ decode, mayThrow = () => false }: Decoder, input: Buffer): Promise<Cost> {
  const before = used();
  const start = process.cpuUsage();
  try {
    await decode(input);
  } catch (error) {
    if (!mayThrow(error)) throw error;
  }
  const { user, system } = process.cpuUsage(start);
  return { cpuMs: (user + system) / 1_000, bytes: used() - before };
}

function used(): number {
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  return heapUsed + external + arrayBuffers;
}

/** Noise, what is right with faults in it, and pieces of it again and again until it is as long as may be. */
function inputsOf({ samples, maxBytes }: Decoder): fc.Arbitrary<Uint8Array> {
  const sample = fc.constantFrom(...samples.map((one) => Buffer.from(one as string)));
  const snippet = fc.oneof(
    fc.constantFrom(
      ...'{}[](),:"\\ =-+.eE0\n\r\t\0/&*!#|>\'%@<;'.split(''),
      '{"a":',
      '[[',
      '\\u00',
      '-----BEGIN',
    ),
    fc.uint8Array({ minLength: 1, maxLength: 4 }),
  );
  const bytesOf = (piece: string | Uint8Array) => Buffer.from(piece as string);
  const faulty = fc
    .tuple(sample, fc.array(fc.tuple(fc.nat(), snippet, fc.nat(4)), { minLength: 1, maxLength: 6 }))
    .map(([right, faults]) =>
      faults.reduce((now, [place, piece, cut]) => {
        const at = place % (now.length + 1);
        return Buffer.concat([now.subarray(0, at), bytesOf(piece), now.subarray(at + cut)]);
      }, right),
    );
  const repeated = fc
    .tuple(sample, fc.nat(), fc.oneof(snippet, fc.nat(12)), fc.integer({ min: 1, max: maxBytes }))
    .map(([right, place, piece, length]) => {
      const at = place % (right.length + 1);
      const unit = typeof piece === 'number' ? right.subarray(at, at + piece + 1) : bytesOf(piece);
      const many = Buffer.alloc(length, unit.length > 0 ? unit : 'x');
      return Buffer.concat([right.subarray(0, at), many, right.subarray(at)]).subarray(0, maxBytes);
    });
  return fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    { weight: 3, arbitrary: faulty },
    { weight: 3, arbitrary: repeated },
  );
}
