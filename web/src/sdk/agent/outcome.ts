/**
 * A promise whose failure is never lost and never an unhandled rejection.
 *
 * Owns one question: did anybody look at the result? Whoever did not, as in the seed's `agent.connect({...})` without
 * `await`, gets the failure by the callback that was given, usually `onError`.
 */

type Settle<T> = (resolve: (value: T) => void, reject: (error: Error) => void) => void;

export class Outcome<T> extends Promise<T> {
  private isWatched = false;

  /** What `then` gives is an ordinary promise. */
  static override get [Symbol.species](): PromiseConstructor {
    return Promise;
  }

  /** A promise settled by `settle`; `unseen` gets the error of one that nobody waits for. */
  static of<T>(settle: Settle<T>, unseen: (error: Error) => void): Outcome<T> {
    const outcome = new Outcome<T>(settle);
    Promise.prototype.then.call(outcome, undefined, (error: Error) => {
      // Whoever awaits a promise that has failed already looks at it only after this.
      setTimeout(() => {
        if (!outcome.isWatched) unseen(error);
      });
    });
    return outcome;
  }

  // biome-ignore lint/suspicious/noThenProperty: a promise has one, and being asked for it is what counts here.
  override then<A = T, B = never>(
    fulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.isWatched = true;
    return super.then(fulfilled, rejected);
  }
}
