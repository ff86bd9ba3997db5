import { describe, expect, test } from 'vitest';
import { completionsOf, EXPECTED } from '../support/completions.ts';
import { sallyport } from '../support/fleets/process.ts';

// bash, which is everywhere, is in test/unit/cli.
describe.each(['zsh', 'fish'] as const)('the completion for %s', async (shell) => {
  const { stdout } = await sallyport(['completion', shell]);
  const complete = completionsOf(shell, stdout);

  test.each(Object.entries(EXPECTED))('V8: after %j it offers %j', (line, offered) => {
    expect(complete(line)).toEqual(offered);
  });
});
