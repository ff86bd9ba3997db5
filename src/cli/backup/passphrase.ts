import { readFileSync } from 'node:fs';
import { describeError, SallyportError } from '../../core/errors.ts';
import { UsageError } from '../usage-error.ts';

/** What the prompt needs of a terminal: what `Terminal.prompt` gives, or a test's. */
export interface PromptStreams {
  readonly input: NodeJS.ReadableStream & { readonly isTTY?: boolean; setRawMode?(on: boolean): unknown };
  readonly output: { write(text: string): unknown };
}

/** Guessing costs an attacker about 0.2 s of CPU a try: shorter ones are not worth the name. */
const MIN_LENGTH = 12;
const KEYS = { end: ['\r', '\n', '\u0004'], interrupt: '\u0003', rubOut: ['\u007f', '\b'] } as const;

/**
 * The passphrase of a backup: the only line of `--passphrase-file`, $SALLYPORT_PASSPHRASE, or asked for on a
 * terminal. Never an argument: other users of the machine see those.
 * @param options.isNew it is to be long enough, and typed twice
 * @throws UsageError, BACKUP_FILE_UNUSABLE
 */
export async function readPassphrase(
  options: { readonly file?: string | undefined; readonly isNew: boolean },
  streams: PromptStreams,
  env: NodeJS.ProcessEnv,
): Promise<string> {
  const text = await find(options, streams, env);
  if (options.isNew && [...text].length < MIN_LENGTH)
    throw new UsageError(`the passphrase is too short: take at least ${MIN_LENGTH} characters`);
  return text;
}

async function find(
  { file, isNew }: { readonly file?: string | undefined; readonly isNew: boolean },
  streams: PromptStreams,
  env: NodeJS.ProcessEnv,
): Promise<string> {
  if (file !== undefined) return firstLine(file);
  if (env.SALLYPORT_PASSPHRASE) return env.SALLYPORT_PASSPHRASE;
  if (!streams.input.isTTY)
    throw new UsageError(
      'no passphrase: give --passphrase-file FILE or the environment variable SALLYPORT_PASSPHRASE, or run it on a terminal',
    );
  const first = await askHidden(streams, 'Passphrase of the backup: ');
  if (isNew && (await askHidden(streams, 'The same again: ')) !== first)
    throw new UsageError('the two passphrases differ');
  if (first === '') throw new UsageError('the passphrase is empty');
  return first;
}

function firstLine(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8').replace(/\r?\n$/, '');
  } catch (cause) {
    throw new SallyportError('BACKUP_FILE_UNUSABLE', { file, problem: describeError(cause) }, cause);
  }
  if (text === '' || /[\r\n]/.test(text))
    throw new UsageError(`${file} does not hold the passphrase as its only line`);
  return text;
}

/** Asks without echo. @throws UsageError when it is interrupted */
export function askHidden({ input, output }: PromptStreams, question: string): Promise<string> {
  output.write(question);
  input.setRawMode?.(true);
  input.resume();
  return new Promise((resolve, reject) => {
    let text = '';
    const finish = (settle: () => void) => {
      input.removeListener('data', onData);
      input.setRawMode?.(false);
      input.pause();
      output.write('\n');
      settle();
    };
    const onData = (chunk: Buffer | string) => {
      for (const key of chunk.toString()) {
        if (key === KEYS.interrupt) return finish(() => reject(new UsageError('interrupted')));
        if ((KEYS.end as readonly string[]).includes(key)) return finish(() => resolve(text));
        text = (KEYS.rubOut as readonly string[]).includes(key)
          ? [...text].slice(0, -1).join('')
          : text + key;
      }
    };
    input.on('data', onData);
  });
}

/** A question that only the word `yes` answers with yes. @throws UsageError where nobody can be asked */
export async function confirm(question: string, streams: PromptStreams): Promise<boolean> {
  if (!streams.input.isTTY)
    throw new UsageError('nobody can be asked here: look with --dry-run, then run it with --yes');
  streams.output.write(`${question}\nType yes to go on: `);
  const line = await new Promise<string>((resolve) => {
    streams.input.resume();
    streams.input.once('data', (chunk) => {
      streams.input.pause();
      resolve(chunk.toString());
    });
  });
  return line.trim() === 'yes';
}
