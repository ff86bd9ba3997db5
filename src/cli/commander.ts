/*! Commander: MIT License, (c) 2011 TJ Holowaychuk; its whole text is node_modules/commander/LICENSE. */

/** What we use of Commander. `npm run build` puts it into this one file, as it does with `core/zod.ts`. */
export { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander';
