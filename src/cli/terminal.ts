import type { Writable } from 'node:stream';
import { printableLines } from '../core/printable.ts';
import { paint } from './output.ts';

type Output = Writable & { readonly isTTY?: boolean };

/** The streams, the environment and the signals of a process, or those that a test gives. */
export interface TerminalParts {
  readonly stdin: NodeJS.ReadableStream & {
    readonly isTTY?: boolean;
    setRawMode?(on: boolean): unknown;
    destroy?(): unknown;
  };
  /** Results. */
  readonly stdout: Output;
  /** Everything that is said to a person, and the log. */
  readonly stderr: Output;
  readonly env: NodeJS.ProcessEnv;
  /** Aborted when the user asks for the end. Called only by commands that run until then. */
  interrupted(): AbortSignal;
}

/** Where one command line runs. No command touches `process`, so that tests call commands as functions. */
export class Terminal {
  /** 0 ok, 1 failure, 2 usage; a command sets it when its result is a failure that needs no error. */
  exitCode = 0;
  readonly stdin: TerminalParts['stdin'];
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: NodeJS.ProcessEnv;
  readonly #parts: TerminalParts;

  constructor(parts: TerminalParts) {
    this.#parts = parts;
    this.stdin = parts.stdin;
    this.stdout = parts.stdout;
    this.stderr = parts.stderr;
    this.env = parts.env;
  }

  /** What a question needs: it is asked on standard error. */
  get prompt() {
    return { input: this.stdin, output: this.stderr };
  }

  print(text: string): void {
    this.stdout.write(`${printableLines(text)}\n`);
  }

  printError(text: string): void {
    this.stderr.write(`${printableLines(text)}\n`);
  }

  paint(stream: 'stdout' | 'stderr') {
    return paint(this[stream], this.env);
  }

  interrupted(): AbortSignal {
    return this.#parts.interrupted();
  }
}

/** The terminal of this process. */
export function processTerminal(): Terminal {
  const { stdin, stdout, stderr, env } = process;
  return new Terminal({ stdin, stdout, stderr, env, interrupted: onSignals });
}

/** Aborts at the first SIGINT or SIGTERM; a second one ends the process at once. */
function onSignals(): AbortSignal {
  const asked = new AbortController();
  const onSignal = () => {
    if (asked.signal.aborted) process.exit(1);
    asked.abort(new Error('stopped by a signal while starting'));
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  return asked.signal;
}
