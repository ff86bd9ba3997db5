/**
 * Runs the task one at a time: whoever asks for it during a run gets one more run after it, together with
 * all others who ask.
 * @param task must not reject
 * @returns asks for a run; the promise resolves when it, and all that was asked for meanwhile, is done
 */
export function coalesced(task: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  let again = false;
  return function run(): Promise<void> {
    again = running !== undefined;
    running ??= task().then(() => {
      running = undefined;
      return again ? run() : undefined;
    });
    return running;
  };
}
