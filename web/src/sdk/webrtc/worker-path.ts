/**
 * Modes `datachannel` and `sfu`: frames by the data channels of a call, through the server's media worker.
 *
 * Owns the form in which frames travel there. Never opens or ends the call.
 */

import type { Call } from "./call";
import { CHANNEL_BYTES, encodeData } from "./delivery";
import type { OutgoingFrame } from "./peer-delivery";
import type { Path, Route } from "./peer-path";

export class WorkerPath implements Path {
  readonly call: Call;
  private readonly ownIdentity: () => string;
  private route: Route | undefined;

  constructor(call: Call, ownIdentity: () => string) {
    this.call = call;
    this.ownIdentity = ownIdentity;
  }

  follow(): void {
    // The worker says who is in the call.
  }

  routeTo(identity: string): Route | undefined {
    const { call } = this;
    if (!call.isOpen) return undefined;
    if (!call.reception.peers(this.ownIdentity()).some((peer) => peer.identity === identity))
      return undefined;
    const name = `worker/${call.connectionId}`;
    if (this.route?.name !== name) this.route = this.routeBy(name);
    return this.route;
  }

  isUnreachable(): boolean {
    return false;
  }

  close(): void {
    this.call.leave();
  }

  private routeBy(name: string): Route {
    const { call } = this;
    return {
      name,
      room: (isLossy) => {
        const buffered = call.connection?.buffered(isLossy) ?? CHANNEL_BYTES;
        return buffered < CHANNEL_BYTES ? CHANNEL_BYTES - buffered : undefined;
      },
      send: (frames: readonly OutgoingFrame[]) => {
        for (const { to, frame, isLossy } of frames) call.sendNow(encodeData(to, frame), isLossy);
      },
    };
  }
}
