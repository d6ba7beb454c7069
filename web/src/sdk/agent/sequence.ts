/**
 * Steps that may take time to be ready, done in the order in which they were added.
 *
 * Owns the order. A step that is ready when nothing waits is done at once. Never does two at a time.
 */

export type Step = () => void;

interface Place {
  step: Step | undefined;
  readonly skipped: Step;
}

const NOTHING: Step = () => undefined;

export class Sequence {
  private readonly places: Place[] = [];
  private isDoing = false;

  /**
   * Adds a step, or one that is being made; `skipped` is done in its place if `hurry` comes before it is ready.
   *
   * Whoever makes a step sees to it that this cannot fail.
   */
  add(step: Step | Promise<Step>, skipped: Step = NOTHING): void {
    const place: Place = { step: undefined, skipped };
    this.places.push(place);
    if (typeof step === "function") {
      place.step = step;
      this.doReady();
    } else {
      void step.then((made) => {
        // After `hurry` it is too late.
        place.step ??= made;
        this.doReady();
      });
    }
  }

  /** Waits for nothing that is not ready: does everything now. */
  hurry(): void {
    for (const place of this.places) place.step ??= place.skipped;
    this.doReady();
  }

  private doReady(): void {
    if (this.isDoing) return;
    this.isDoing = true;
    try {
      while (this.places[0]?.step) this.places.shift()?.step?.();
    } finally {
      this.isDoing = false;
    }
  }
}
