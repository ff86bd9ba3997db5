/*! Zod: MIT License, Copyright (c) 2025 Colin McDonnell; the whole text is in node_modules/zod/LICENSE. */

/**
 * What we use of Zod. `npm run build` puts it into this one file: the library is 95 files, half of them
 * translations, and to load them costs a command line more CPU than all else it does.
 */

import { config } from 'zod';

export type { core, input, output, ZodType } from 'zod';
export {
  array,
  boolean,
  discriminatedUnion,
  enum,
  globalRegistry,
  int,
  literal,
  looseObject,
  number,
  object,
  preprocess,
  record,
  registry,
  strictObject,
  string,
  toJSONSchema,
  union,
  unknown,
} from 'zod';

const TYPES: Readonly<Record<string, string>> = {
  int: 'no whole number',
  number: 'no number',
  string: 'no text',
  boolean: 'neither true nor false',
  array: 'no list',
  object: 'no object',
  record: 'no object',
};
const UNITS: Readonly<Record<string, string>> = { string: ' characters', array: ' entries' };

// In words that a person who wrote the value understands; a schema with a message of its own keeps that.
config({
  customError: (issue) => {
    switch (issue.code) {
      case 'invalid_type':
        return issue.input === undefined
          ? 'it is missing'
          : `it is ${TYPES[issue.expected] ?? `no ${issue.expected}`}`;
      case 'too_big':
        return `it has to be ${issue.inclusive ? 'at most' : 'less than'} ${issue.maximum}${UNITS[issue.origin] ?? ''}`;
      case 'too_small':
        return `it has to be ${issue.inclusive ? 'at least' : 'more than'} ${issue.minimum}${UNITS[issue.origin] ?? ''}`;
      default:
        return undefined;
    }
  },
});
