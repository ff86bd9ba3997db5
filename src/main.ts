#!/usr/bin/env node
import { useCompileCache } from './cli/compile-cache.ts';

// Before any other module is loaded.
useCompileCache(process.env);
const [{ runProgram }, { processTerminal }] = await Promise.all([
  import('./cli/program.ts'),
  import('./cli/terminal.ts'),
]);

process.exitCode = await runProgram(processTerminal(), process.argv.slice(2));
// What a library left open must not keep the process alive; whoever leaves nothing open ends at once.
setTimeout(() => process.exit(), 1_000).unref();
