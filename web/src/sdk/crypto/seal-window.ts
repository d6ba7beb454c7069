/**
 * What was opened before of each crypto-session: finds messages that are shown twice, or in another order.
 *
 * The twin of `peerbus.client.seal_window`; both run `tests/vectors/sealing`. Owns the state of receiving in sealed
 * channels, one small window for each (crypto-session, class), and its bounds. Never looks at a message: it is asked
 * only about those that have authenticated, and notes only those. See PROTOCOL.md, section 13.
 */

import { toHex } from "./bytes";

/** So many crypto-sessions are remembered in each class; the one that spoke least recently goes first. */
export const MAX_SESSIONS = 1_024;
/** So many offsets are remembered of one crypto-session; the lowest go first. */
export const DURABLE_POINTS = 2_048;
export const LOSSY_WINDOW = 1_024;

/**
 * What becomes of a message that has authenticated.
 *
 * `replayed`, `reordered`: refused. `dropped`: left out and counted, seen before or too old to tell.
 */
export type Verdict = "ok" | "replayed" | "reordered" | "dropped";

/**
 * At which offset each counter stood. Both rise together, or somebody has moved a message.
 *
 * Of offsets below the lowest that is remembered only that is known: they have lower counters.
 */
class DurableWindow {
  private readonly offsets: number[] = [];
  private readonly counters: number[] = [];

  judge(offset: number, counter: number): Verdict {
    const { offsets, counters } = this;
    const place = placeOf(counter, counters);
    if (counters[place] === counter) return offsets[place] === offset ? "ok" : "replayed";
    const at = placeOf(offset, offsets);
    if (at !== place || offsets[at] === offset) return "reordered";
    offsets.splice(at, 0, offset);
    counters.splice(at, 0, counter);
    if (offsets.length > DURABLE_POINTS) {
      offsets.shift();
      counters.shift();
    }
    return "ok";
  }
}

/** The highest counter; live messages of one sender come in their order. */
class LiveWindow {
  private last = -1;

  judge(counter: number): Verdict {
    if (counter <= this.last) return "dropped";
    this.last = counter;
    return "ok";
  }
}

/** The highest counter and which of the 1,024 up to it were seen, as in RFC 4303, section 3.4.3. */
class LossyWindow {
  private last = -1;
  /** At counter modulo 1,024: the last one seen there. */
  private readonly seen = new Float64Array(LOSSY_WINDOW).fill(-1);

  judge(counter: number): Verdict {
    const place = counter % LOSSY_WINDOW;
    if (counter <= this.last - LOSSY_WINDOW || this.seen[place] === counter) return "dropped";
    this.seen[place] = counter;
    this.last = Math.max(this.last, counter);
    return "ok";
  }
}

/** The highest counter; the same again is what others are told when somebody else joins. */
class AttributesWindow {
  private last = -1;

  judge(counter: number): Verdict {
    if (counter < this.last) return "dropped";
    this.last = counter;
    return "ok";
  }
}

/** The windows of all crypto-sessions of one channel, as one receiver has seen them. */
export class SealWindows {
  private readonly ofDurable = new Latest(() => new DurableWindow());
  private readonly ofLive = new Latest(() => new LiveWindow());
  private readonly ofLossy = new Latest(() => new LossyWindow());
  private readonly ofAttributes = new Latest(() => new AttributesWindow());

  /** A durable message, pushed or read; offsets mean something within their epoch only. */
  durable(cryptoSession: Uint8Array, epoch: string, offset: number, counter: number): Verdict {
    return this.ofDurable.of(`${toHex(cryptoSession)} ${epoch}`).judge(offset, counter);
  }

  live(cryptoSession: Uint8Array, counter: number): Verdict {
    return this.ofLive.of(toHex(cryptoSession)).judge(counter);
  }

  lossy(cryptoSession: Uint8Array, counter: number): Verdict {
    return this.ofLossy.of(toHex(cryptoSession)).judge(counter);
  }

  /** Attributes in a list of members. */
  attributes(cryptoSession: Uint8Array, counter: number): Verdict {
    return this.ofAttributes.of(toHex(cryptoSession)).judge(counter);
  }
}

/** The windows that were asked for last. */
class Latest<W> {
  private readonly windows = new Map<string, W>();
  private readonly make: () => W;

  constructor(make: () => W) {
    this.make = make;
  }

  /** The window of a crypto-session, empty if it is not known (any more). */
  of(key: string): W {
    const window = this.windows.get(key) ?? this.make();
    this.windows.delete(key);
    this.windows.set(key, window);
    const [oldest] = this.windows.keys();
    if (this.windows.size > MAX_SESSIONS && oldest !== undefined) this.windows.delete(oldest);
    return window;
  }
}

/** How many of the rising `values` are below `value`. */
function placeOf(value: number, values: readonly number[]): number {
  let [low, high] = [0, values.length];
  // Mostly it is the highest yet.
  if ((values.at(-1) ?? -1) < value) return high;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((values[middle] ?? 0) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
