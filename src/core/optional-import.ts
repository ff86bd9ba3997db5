// As a whole: Node before 22.15 has no `registerHooks`, and has to come as far as the sentence that says so.
import nodeModule from 'node:module';
import { describeError } from './errors.ts';

export interface OptionalImport<T> {
  readonly module: T;
  /** Why the optional part cannot be used; undefined when it can. */
  readonly missing: string | undefined;
}

/**
 * Imports a library that imports an optional package by itself and is loud about its absence (on standard
 * output, where `--print-ready` is read by programs). When the package cannot be loaded, the library finds an
 * empty module in its place.
 * @param optional name of the package, as the library imports it
 * @param load imports the library; resolves when its own attempt to import the package is over
 */
export async function importWithOptional<T>(
  optional: string,
  load: () => Promise<T>,
): Promise<OptionalImport<T>> {
  const missing = await import(optional).then(
    () => undefined,
    (error: unknown) => whyMissing(optional, error),
  );
  if (missing === undefined) return { module: await load(), missing };
  const hooks = nodeModule.registerHooks({
    resolve: (specifier, context, next) =>
      specifier === optional ? { url: EMPTY_MODULE, shortCircuit: true } : next(specifier, context),
  });
  try {
    return { module: await load(), missing };
  } finally {
    hooks.deregister();
  }
}

const EMPTY_MODULE = 'data:text/javascript,export%20%7B%7D';

function whyMissing(name: string, error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  // What lies outside of the package (paths of this machine) stays outside of what strangers may read.
  if (code === 'ERR_MODULE_NOT_FOUND' || describeError(error).includes('Failed to load url'))
    return `${name} is not installed`;
  return `${name} cannot be loaded (${code ?? 'its native part is missing or does not fit'})`;
}
