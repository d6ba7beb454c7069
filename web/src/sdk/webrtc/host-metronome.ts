/**
 * A beat that pages hear which nobody sees, too.
 *
 * Owns the worker that beats. Browsers hold back the timers of a page in a hidden tab to one a second, or one a minute, but
 * not those of its workers. Each beat is asked for by the page when it has heard the one before: so nothing piles up, and a
 * page that is frozen is not kept alive by its worker. Never says what is done on a beat.
 *
 * The worker is made from a Blob: the SDK may come from another origin than the page, and a worker may not. Where the page
 * allows none (`worker-src blob:` in its Content-Security-Policy) there are no beats, and the page's own timers have to do.
 */

/** Where tests put something else in the place of the worker. */
export interface MetronomeMaker {
  /** Calls about so often, as long as the page runs; gives what stops it. */
  startMetronome(everyMs: number, beat: () => void): () => void;
}

const PROGRAM = "onmessage = ({ data }) => setTimeout(() => postMessage(0), data);";

export const browserMetronomeMaker: MetronomeMaker = {
  startMetronome(everyMs, beat) {
    const worker = startWorker();
    if (!worker) return () => undefined;
    const stop = (): void => worker.terminate();
    worker.onerror = (event) => {
      event.preventDefault();
      stop();
    };
    worker.onmessage = () => {
      worker.postMessage(everyMs);
      beat();
    };
    worker.postMessage(everyMs);
    return stop;
  },
};

function startWorker(): Worker | undefined {
  if (typeof Worker === "undefined") return undefined;
  const address = URL.createObjectURL(new Blob([PROGRAM], { type: "text/javascript" }));
  try {
    return new Worker(address);
  } catch {
    // The page allows no workers.
    return undefined;
  } finally {
    // The worker has its program, or asks for it before this is heard.
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }
}
