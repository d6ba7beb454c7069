/**
 * What every way of carrying frames between peers has in common.
 *
 * Owns the shape of a path and of its routes. Never carries anything.
 *
 * A *path* is one mode's way to the others; a *route* is one thing of it that takes frames, such as the link to one peer,
 * or the one connection to a server that reaches all.
 */

import type { GroupMember } from "../protocol/groups.gen";
import type { OutgoingFrame } from "./peer-delivery";

/** Something that takes frames for those it leads to. */
export interface Route {
  /** Another route, also one that takes the place of this one, has another name. */
  readonly name: string;
  /** How many bytes it takes now; `undefined`: none, not even a short one. */
  room(isLossy: boolean): number | undefined;
  send(frames: readonly OutgoingFrame[]): void;
}

export interface Path {
  /** These are the others in the group now. */
  follow(members: ReadonlyMap<string, GroupMember>): void;
  /** By which route a peer is reached now. */
  routeTo(identity: string): Route | undefined;
  /** Whether a direct link to this peer can't be made, so that it may be carried another way. */
  isUnreachable(identity: string): boolean;
  /** Nothing of it is called or calls any more. */
  close(reason: string): void;
}

/** Whoever is told what happens on a path. */
export interface PathListener {
  /** A frame of a peer came. */
  received(sender: string, frame: Uint8Array): void;
  /** Somebody can be reached now, or no more, or otherwise. */
  routesChanged(): void;
  /** There is room again. */
  writable(): void;
}
