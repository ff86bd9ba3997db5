import { Argument, Command } from '../commander.ts';
import { completionScript, SHELLS, type Shell } from '../completion/completion-script.ts';
import type { Terminal } from '../terminal.ts';

export function completionCommand(terminal: Terminal): Command {
  return new Command('completion')
    .description('print the script that lets a shell complete commands, options and their values')
    .addArgument(new Argument('<shell>', 'which shell').choices(SHELLS))
    .addHelpText(
      'after',
      '\nExamples:\n  source <(sallyport completion bash)\n  sallyport completion fish > ~/.config/fish/completions/sallyport.fish',
    )
    .action((shell: Shell, _options: unknown, self: Command) => {
      terminal.stdout.write(completionScript(shell, self.parent!));
    });
}
