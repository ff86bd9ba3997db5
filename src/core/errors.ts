import { ERRORS } from './error-table.ts';

export type ErrorCode = keyof typeof ERRORS;
export type ErrorDetails = Readonly<Record<string, string | number | boolean | undefined>>;

export class SallyportError extends Error {
  override readonly name = 'SallyportError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  /** @param cause the error that led here, kept for the log */
  constructor(code: ErrorCode, details: ErrorDetails = {}, cause?: unknown) {
    super(fill(ERRORS[code].message, details), cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }

  get status(): number {
    return ERRORS[this.code].status;
  }

  get fix(): string {
    return fill(ERRORS[this.code].fix, this.details);
  }
}

export function isSallyportError<C extends ErrorCode>(
  error: unknown,
  ...codes: C[]
): error is SallyportError & { code: C } {
  return (
    error instanceof SallyportError && (codes.length === 0 || (codes as ErrorCode[]).includes(error.code))
  );
}

/** The shortest text that tells a person what went wrong, causes included. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const own = error.message || (error as NodeJS.ErrnoException).code || error.name;
  return error.cause === undefined ? own : `${own} (${describeError(error.cause)})`;
}

function fill(template: string, details: ErrorDetails): string {
  return template.replace(/\{(\w+)\}/g, (place, key: string) =>
    details[key] === undefined ? place : String(details[key]),
  );
}
