import { join } from 'node:path';
import { systemClock } from '../../../src/core/clock.ts';
import { isSallyportError } from '../../../src/core/errors.ts';
import { FolderLock } from '../../../src/core/folder-lock.ts';
import { silentLogger } from '../../../src/core/log.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { SharedRecord } from '../../../src/core/shared-record.ts';
import { DirectorySecretStore } from '../../../src/secrets/directory/directory-secret-store.ts';

/**
 * A process of its own that uses a folder of Secrets, for tests of what happens between processes. It says
 * `ready`, waits for one message, does `create <value>`, `count <times>` or `hold [waitMs]`, and sends the
 * outcome.
 */
const [path = '', task = '', argument = ''] = process.argv.slice(2);
const store = new DirectorySecretStore(
  { clock: systemClock, log: silentLogger, metrics: createMetrics({ process: false }) },
  { path, resyncMs: 60_000 },
);

async function create(value: string): Promise<unknown> {
  try {
    await store.create({ name: 'casecret', data: { value: Buffer.from(value) } });
    return { won: true };
  } catch (error) {
    if (!isSallyportError(error, 'SECRET_ALREADY_EXISTS')) throw error;
    const read = await store.get('casecret');
    return { won: false, read: Buffer.from(read!.data.value!).toString() };
  }
}

/** Adds one, `times` times, beginning again whenever somebody else was faster. */
async function count(times: number): Promise<unknown> {
  const record = new SharedRecord<number>(
    { store, clock: systemClock },
    {
      name: 'counter',
      codec: {
        decode: (secret) => ({ value: Number(Buffer.from(secret!.data.value!).toString()) }),
        encode: (value) => ({ value: Buffer.from(`${value}`) }),
      },
    },
  );
  let attempts = 0;
  for (let done = 0; done < times; done++)
    await record.change((value) => {
      attempts++;
      return value + 1;
    });
  return { conflicts: attempts - times };
}

async function hold(waitMs: number | undefined): Promise<unknown> {
  const wait = waitMs === undefined ? {} : { waitMs };
  const lock = new FolderLock({ clock: systemClock }, { path: join(path, '.lock'), ...wait });
  await lock.hold(async () => {
    process.send!({ held: true });
    await new Promise((resolve) => setTimeout(resolve, 60_000));
  });
  return {};
}

process.send!('ready');
process.once('message', async () => {
  const outcome = await (task === 'create'
    ? create(argument)
    : task === 'count'
      ? count(Number(argument))
      : hold(argument === '' ? undefined : Number(argument))
  ).catch((error: unknown) => ({ error: String(error) }));
  process.send!(outcome, () => process.disconnect());
});
