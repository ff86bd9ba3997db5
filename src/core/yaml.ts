import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

/** The YAML library, loaded at its first use: it is 70 files, and most command lines need none of them. */
export const yaml = (): typeof import('yaml') => require('yaml') as typeof import('yaml');
