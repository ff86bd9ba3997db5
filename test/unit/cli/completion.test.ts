import { describe, expect, test } from 'vitest';
import { completionsOf, EXPECTED } from '../../support/completions.ts';
import { sallyport } from '../../support/fleets/process.ts';

describe('the completion for bash', async () => {
  const { stdout } = await sallyport(['completion', 'bash']);
  const complete = completionsOf('bash', stdout);

  test.each(Object.entries(EXPECTED))('V8: after %j it offers %j', (line, offered) => {
    expect(complete(line)).toEqual(offered);
  });

  test('V8: every option of a command and those that all have are offered after a dash', () => {
    expect(complete('sallyport edge run -')).toEqual(
      expect.arrayContaining([
        '--directory',
        '--hub',
        '--node',
        '--token-file',
        '--config',
        '--set',
        '--help',
      ]),
    );
  });
});

test('another shell is refused with the names of those that are known', async () => {
  const { code, stderr } = await sallyport(['completion', 'tcsh']);
  expect([code, stderr]).toEqual([2, expect.stringContaining('Allowed choices are bash, zsh, fish')]);
});
