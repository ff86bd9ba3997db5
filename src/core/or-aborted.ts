/**
 * What `task` comes to, or the reason of the signal as soon as it is aborted: also of a task that ignores the
 * signal it was given, and never settles.
 */
export function orAborted<T>(task: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    // An error that comes after the abort has no reader, and must not end the process.
    task.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
