/**
 * A transport before which frames are sealed.
 *
 * Owns the order: what is being sealed holds up all that was handed over later, the end of the transport included.
 * Never seals anything itself.
 */

import type { ClientFrame } from "../../protocol/frames.gen";
import { Sequence } from "../sequence";
import type { Transport } from "./transport";

/** `seal` gives what is sent in the place of a frame, now or later, or nothing; it never rejects. */
export function sealingTransport(
  transport: Transport,
  seal: (frame: ClientFrame) => ClientFrame | Promise<ClientFrame | undefined>,
): Transport {
  const sequence = new Sequence();
  return {
    send(frames, bounds) {
      const sealed = frames.map(seal);
      if (!sealed.some((frame) => frame instanceof Promise)) {
        sequence.add(() => transport.send(sealed as ClientFrame[], bounds));
        return;
      }
      const made = Promise.all(sealed).then((all) => () => {
        const ready = all.filter((frame) => frame !== undefined);
        if (ready.length > 0) transport.send(ready, bounds);
      });
      sequence.add(made);
    },
    close(closeCode, reason) {
      sequence.add(() => transport.close(closeCode, reason));
    },
  };
}
