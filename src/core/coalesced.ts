/**
 * Runs the task one at a time: whoever asks for it during a run gets one more run after it, together with
 * all others who ask.
 * @param task must not reject
 * @returns asks for a run; the promise is that of the run under way
 */
export function coalesced(task: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  let again = false;
  return function run() {
    again = running !== undefined;
    running ??= task().finally(() => {
      running = undefined;
      if (again) void run();
    });
    return running;
  };
}
