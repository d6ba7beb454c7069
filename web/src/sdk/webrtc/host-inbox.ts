/**
 * What the host's application takes in because it is the host's: messages to the host, by its role or by its name, and
 * those that a new host has to take in once more because they came after the state that it goes on from.
 *
 * Owns which messages are not whole yet, and which came last of each sender. The order of the log is the order here; what
 * is a double by its number is dropped. Never decides what is fed, nor what the application is told (`host-serving`).
 */

import type { Done } from "./host-frames";
import { ACK, encodeMark, MORE, type Reliable } from "./peer-frames";
import { type DeliveryEvent, Receiving } from "./peer-receiving";

export class HostInbox {
  readonly done: Done;
  private readonly byRole = new Map<string, Receiving>();
  private readonly byName = new Map<string, Receiving>();
  private readonly begunByRole = new Map<string, number>();
  private readonly begunByName = new Map<string, number>();
  private readonly owed = new Map<string, number>();

  /** `done`: what was taken in already. */
  constructor(done: Done) {
    this.done = new Map(done);
    for (const [sender, [stream, role, name]] of done) {
      for (const [isRole, seq] of [
        [true, role],
        [false, name],
      ] as const) {
        const receiving = this.receiving(sender, isRole);
        receiving.follows(stream);
        receiving.last = seq;
      }
    }
  }

  /** Takes the frame at place `n`; gives the message that is whole by it. */
  feed(n: number, sender: string, frame: Reliable, nowMs: number, isRole: boolean): DeliveryEvent[] {
    const receiving = this.receiving(sender, isRole);
    const isNew = frame.stream !== receiving.stream || frame.seq > receiving.last;
    // The log has all that came before, or it is in the state: nothing is waited for.
    const events = receiving.reliable({ ...frame, prev: 0 }, nowMs);
    if (isNew && receiving.stream === frame.stream) {
      const begun = isRole ? this.begunByRole : this.begunByName;
      if (frame.flags & MORE) {
        if (!begun.has(sender)) begun.set(sender, n);
      } else {
        begun.delete(sender);
        noteDone(this.done, sender, frame, isRole);
      }
    }
    return events;
  }

  /** A frame to the host's role was taken in: its sender is to be told by then. */
  owe(sender: string, atMs: number): void {
    if (!this.owed.has(sender)) this.owed.set(sender, atMs);
  }

  /** The acknowledgements that are due, by sender. */
  acks(nowMs: number): [sender: string, frame: Uint8Array][] {
    const marks: [string, Uint8Array][] = [];
    for (const [sender, atMs] of [...this.owed]) {
      if (nowMs < atMs) continue;
      this.owed.delete(sender);
      const { stream, last } = this.receiving(sender, true);
      if (stream > 0) marks.push([sender, encodeMark(ACK, stream, last)]);
    }
    return marks;
  }

  /** The first place that is needed for what is not whole at `n`. */
  floor(n: number): number {
    return Math.min(n + 1, ...this.begunByRole.values(), ...this.begunByName.values());
  }

  /** When acknowledgements are due. */
  get deadlineMs(): number | undefined {
    return this.owed.size === 0 ? undefined : Math.min(...this.owed.values());
  }

  private receiving(sender: string, isRole: boolean): Receiving {
    const senders = isRole ? this.byRole : this.byName;
    let receiving = senders.get(sender);
    if (!receiving) {
      receiving = new Receiving(sender);
      senders.set(sender, receiving);
    }
    return receiving;
  }
}

/** A frame to the host was taken in. Only the last piece of a message counts. */
export function noteDone(
  done: Done,
  sender: string,
  { stream, seq, flags }: Reliable,
  isRole: boolean,
): void {
  if (flags & MORE) return;
  const [before, role, name] = done.get(sender) ?? [stream, 0, 0];
  const byRole = before === stream ? role : 0;
  const byName = before === stream ? name : 0;
  done.set(
    sender,
    isRole ? [stream, Math.max(byRole, seq), byName] : [stream, byRole, Math.max(byName, seq)],
  );
}
