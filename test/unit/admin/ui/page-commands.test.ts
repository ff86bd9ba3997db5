import { globSync, readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { createProgram } from '../../../../src/cli/program.ts';

/** Every `sallyport …` in the page's files, up to its first variable part or option. */
const commands = globSync('src/admin/ui/**/*.{js,html}').flatMap((file) =>
  [...readFileSync(file, 'utf8').matchAll(/sallyport ([a-z]+(?: [a-z-]+)*)/g)].map(([, words]) => ({
    file,
    words: words!,
  })),
);

test('the commands that the page offers to copy exist', async () => {
  const program = await createProgram();
  expect(commands.length).toBeGreaterThan(10);
  for (const { file, words } of commands) {
    let command: Command = program;
    for (const word of words.split(' ')) {
      const next = command.commands.find((one) => one.name() === word);
      if (!next) {
        expect(
          command.commands.map((one) => one.name()),
          `${file}: sallyport ${words}`,
        ).toEqual([]);
        break;
      }
      command = next;
    }
  }
});
