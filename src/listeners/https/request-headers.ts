import type { IncomingHttpHeaders } from 'node:http';
import { SallyportError } from '../../core/errors.ts';

/**
 * The bearer token of a request (RFC 6750 §2.1; the scheme's case does not matter, RFC 9110 §11.1), undefined
 * without the header.
 * @throws TOKEN_INVALID for another scheme or no token after it (requirement E6)
 */
export function bearerToken({ authorization }: IncomingHttpHeaders): string | undefined {
  if (authorization === undefined) return undefined;
  const token = /^bearer +([\x21-\x7e]+) *$/i.exec(authorization)?.[1];
  if (token === undefined)
    throw new SallyportError('TOKEN_INVALID', {
      problem: 'the Authorization header is not `Bearer <token>`',
    });
  return token;
}

/**
 * Header `ExtKeyUsages`: a JSON array of Go's `x509.ExtKeyUsage` numbers, undefined without it.
 * @throws BAD_REQUEST
 */
export function extKeyUsages(headers: IncomingHttpHeaders): readonly number[] | undefined {
  const text = headers.extkeyusages;
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(String(text));
    // Go marshals a nil slice as null.
    if (value === null) return undefined;
    if (Array.isArray(value) && value.length <= 16 && value.every((entry) => Number.isInteger(entry)))
      return value;
  } catch {
    // Reported below like every other shape that is not understood.
  }
  throw new SallyportError('BAD_REQUEST', {
    problem: 'the header ExtKeyUsages is not a JSON array of numbers',
  });
}

/**
 * One header's value when it was sent exactly as text; Node joins repetitions, which then fail the checks of
 * the reader.
 */
export function headerText(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}
