/**
 * Calls 60 times a second, also in a window that nobody looks at: a worker's timers are not slowed down there.
 *
 * Owns the worker.
 */

import { STEPS_PER_S } from "./rink";

const PROGRAM = `setInterval(() => postMessage(0), ${1000 / STEPS_PER_S});`;

/** Begins to call; gives what ends it. */
export function tick(call: () => void): () => void {
  const address = URL.createObjectURL(new Blob([PROGRAM], { type: "text/javascript" }));
  const worker = new Worker(address);
  worker.onmessage = call;
  return () => {
    worker.terminate();
    URL.revokeObjectURL(address);
  };
}
