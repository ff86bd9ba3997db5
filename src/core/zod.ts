/*! Zod: MIT License, Copyright (c) 2025 Colin McDonnell; the whole text is in node_modules/zod/LICENSE. */

/**
 * What we use of Zod. `npm run build` puts it into this one file: the library is 95 files, half of them
 * translations, and to load them costs a command line more CPU than all else it does.
 */

export type { core, input, output, ZodType } from 'zod';
export {
  array,
  boolean,
  coerce,
  discriminatedUnion,
  enum,
  globalRegistry,
  int,
  literal,
  looseObject,
  number,
  object,
  record,
  registry,
  strictObject,
  string,
  toJSONSchema,
  union,
  unknown,
} from 'zod';
