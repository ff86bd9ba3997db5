#!/usr/bin/env node
import { useCompileCache } from './cli/compile-cache.ts';

// Before any other module is loaded.
useCompileCache(process.env);
const [{ runProgram }, { processTerminal }] = await Promise.all([
  import('./cli/program.ts'),
  import('./cli/terminal.ts'),
]);

process.exitCode = await runProgram(processTerminal(), process.argv.slice(2));
