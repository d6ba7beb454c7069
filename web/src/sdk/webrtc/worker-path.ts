/**
 * Modes `datachannel` and `sfu`: frames by the data channels of a call, through the server's media worker.
 *
 * Owns the form in which frames travel there, and since when a peer is missing. Never opens or ends the call.
 */

import type { Platform } from "../agent/platform";
import type { GroupMember } from "../protocol/groups.gen";
import type { Call } from "./call";
import { CHANNEL_BYTES, encodeData } from "./delivery";
import type { OutgoingFrame } from "./peer-delivery";
import type { Path, PathListener, Route } from "./peer-path";

/** Who is not in the call for so long is carried another way. A call is made anew in less, if it can be. */
export const CARRY_AFTER_MS = 5_000;

export class WorkerPath implements Path {
  readonly call: Call;
  private readonly ownIdentity: () => string;
  private readonly platform: Platform;
  private readonly listener: Pick<PathListener, "routesChanged">;
  /** Who is not in the call, as far as it was asked for, and since when. */
  private readonly missingSinceMs = new Map<string, number>();
  private route: Route | undefined;

  constructor(
    call: Call,
    ownIdentity: () => string,
    platform: Platform,
    listener: Pick<PathListener, "routesChanged">,
  ) {
    this.call = call;
    this.ownIdentity = ownIdentity;
    this.platform = platform;
    this.listener = listener;
  }

  /** The worker says who of them is in the call. */
  follow(members: ReadonlyMap<string, GroupMember>): void {
    for (const peer of this.missingSinceMs.keys()) if (!members.has(peer)) this.missingSinceMs.delete(peer);
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

  isUnreachable(identity: string): boolean {
    if (this.routeTo(identity)) {
      this.missingSinceMs.delete(identity);
      return false;
    }
    const nowMs = this.platform.nowMs();
    const since = this.missingSinceMs.get(identity);
    if (since !== undefined) return nowMs - since >= CARRY_AFTER_MS;
    this.missingSinceMs.set(identity, nowMs);
    this.platform.startTimer(CARRY_AFTER_MS, () => this.listener.routesChanged());
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
