/**
 * Raised hands and reactions, as data messages of the call.
 *
 * Owns their form: `{"type": "call-hand", "isUp": true}`, sent reliably, and `{"type": "call-reaction", "reaction":
 * "heart"}`, which may be lost. Whoever comes, or comes back, says so by `"asks": true`, and hears of the hands that are up.
 * Never shows anything.
 */

import type { WebRTCHelper } from "../../sdk/webrtc/helper";
import type { Peer } from "../../sdk/webrtc/records";

export const REACTIONS = ["thumbs-up", "heart", "party-popper", "smile"] as const;
export type Reaction = (typeof REACTIONS)[number];

const HAND_TYPE = "call-hand";
const REACTION_TYPE = "call-reaction";

export interface GestureCallbacks {
  readonly handsChanged: () => void;
  readonly reacted: (identity: string, reaction: Reaction) => void;
}

export class Gestures {
  /** The identities of those who raised a hand. */
  readonly handsUp = new Set<string>();
  private readonly webrtc: WebRTCHelper;
  private readonly ownIdentity: () => string;
  private readonly callbacks: GestureCallbacks;

  constructor(webrtc: WebRTCHelper, ownIdentity: () => string, callbacks: GestureCallbacks) {
    this.webrtc = webrtc;
    this.ownIdentity = ownIdentity;
    this.callbacks = callbacks;
    webrtc.on("data", ({ data, peer }) => this.heard(data, peer.identity));
    webrtc.on("peers", (peers) => this.peersChanged(peers));
    webrtc.on("state", ({ name }) => {
      if (name === "connected") this.tell({ asks: true });
    });
  }

  get isOwnHandUp(): boolean {
    return this.handsUp.has(this.ownIdentity());
  }

  raise(isUp: boolean): void {
    this.set(this.ownIdentity(), isUp);
    this.tell();
  }

  react(reaction: Reaction): void {
    this.callbacks.reacted(this.ownIdentity(), reaction);
    this.webrtc.sendData({ type: REACTION_TYPE, reaction }, { lossy: true }).catch(() => undefined);
  }

  private heard(data: unknown, identity: string): void {
    const { type, isUp, asks, reaction } = (data ?? {}) as Readonly<Record<string, unknown>>;
    if (type === HAND_TYPE && typeof isUp === "boolean") {
      this.set(identity, isUp);
      if (asks === true && this.isOwnHandUp) this.tell({}, identity);
    }
    const known = REACTIONS.find((name) => name === reaction);
    if (type === REACTION_TYPE && known) this.callbacks.reacted(identity, known);
  }

  private peersChanged(peers: readonly Peer[]): void {
    const here = new Set(peers.map(({ identity }) => identity));
    for (const identity of this.handsUp) {
      if (identity !== this.ownIdentity() && !here.has(identity)) this.set(identity, false);
    }
  }

  private tell(more: { asks?: boolean } = {}, to?: string): void {
    const payload = { type: HAND_TYPE, isUp: this.isOwnHandUp, ...more };
    // Gone again before it arrives? Then nobody misses it.
    this.webrtc.sendData(payload, to === undefined ? {} : { to }).catch(() => undefined);
  }

  private set(identity: string, isUp: boolean): void {
    if (isUp) this.handsUp.add(identity);
    else this.handsUp.delete(identity);
    this.callbacks.handsChanged();
  }
}
