/**
 * Messages of one node in one turn of the event loop. A turn reads every socket that has something, and a
 * node that sends without end would be read some megabytes at a time: at this many others come first.
 */
const MESSAGES_A_TURN = 256;

/** What one session has used of the present turn. */
export interface TurnUse {
  turn: number;
  messages: number;
}

/** Tells one turn of the event loop from the next, only while somebody asks. */
export class FairTurns {
  #turn = 1;
  #next: PromiseWithResolvers<void> | undefined;

  /** Counts one message. @returns the end of this turn, when the session has had its share of it */
  count(use: TurnUse): undefined | Promise<void> {
    this.#next ??= this.#begin();
    if (use.turn !== this.#turn) {
      use.turn = this.#turn;
      use.messages = 0;
    }
    return ++use.messages > MESSAGES_A_TURN ? this.#next.promise : undefined;
  }

  #begin(): PromiseWithResolvers<void> {
    const next = Promise.withResolvers<void>();
    setImmediate(() => {
      this.#turn++;
      this.#next = undefined;
      next.resolve();
    });
    return next;
  }
}
