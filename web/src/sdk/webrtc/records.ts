/**
 * What a call hands out: who is in it, what they publish, tracks, speakers, the state.
 *
 * Owns their shapes. Never sends anything; the wire's own shapes are in `protocol/signals.gen.ts`.
 */

import type { Publication } from "../protocol/signals.gen";
import type { EncryptionState } from "./frame-sealing";
import type { Mode } from "./group-follower";

export type { EncryptionState };

export type MediaKind = "audio" | "video";
/** What a track shows or plays. */
export type Source = Publication["source"];

/** A track of somebody else, as it is announced; whether it is also received, `onTrack` tells. */
export interface RemotePublication {
  /** Unique in the call. */
  readonly id: string;
  /** Who sends it, as `Member.identity`. */
  readonly identity: string;
  /** Their name. */
  readonly name: string;
  readonly media: MediaKind;
  readonly source: Source;
  /** They send nothing on it for now. */
  readonly isMuted: boolean;
  /** They say that it is end-to-end encrypted; what came of it `encryptionOf` tells. */
  readonly isSealed: boolean;
}

/** Somebody else in the call, with or without publications. */
export interface Peer {
  readonly identity: string;
  readonly name: string;
  readonly publications: readonly RemotePublication[];
}

/** How a peer of the group is reached: `carried` is by the server, as long as there is no direct link. */
export type PeerState = "connecting" | "connected" | "carried" | "left";

/** A mode that holds, and why, as listeners of `mode` get it. */
export interface ModeEvent {
  readonly mode: Mode;
  readonly reason: string;
}

/** How a peer is reached now, as listeners of `peerState` get it. */
export interface PeerStateEvent {
  readonly peer: Peer;
  readonly state: PeerState;
}

/** What goes with a received track. */
export interface TrackInfo {
  readonly publication: RemotePublication;
  readonly peer: Peer;
  /**
   * Holds all tracks of this peer that belong together (camera and microphone, or screen and its sound), for
   * `video.srcObject`. It stays the same while tracks come and go in it.
   */
  readonly stream: MediaStream;
}

/** A received track and what it is, as listeners of `track` and `trackEnded` get it. */
export interface TrackEvent {
  readonly track: MediaStreamTrack;
  readonly info: TrackInfo;
}

/** How the end-to-end encryption of a received publication stands, as listeners of `encryptionState` get it. */
export interface EncryptionEvent {
  readonly publication: RemotePublication;
  readonly state: EncryptionState;
}

/** One who speaks now. */
export interface ActiveSpeaker {
  readonly identity: string;
  readonly name: string;
  /** From 0 (silence) to 1 (full scale). */
  readonly level: number;
}

/** A data message, as listeners of `data` get it. */
export interface DataEvent {
  readonly data: unknown;
  readonly peer: Peer;
  readonly isLossy: boolean;
}

export type CallStateName = "idle" | "connecting" | "connected" | "reconnecting" | "closed";

/** Where the call stands, for people too: `why` is a sentence, `code` an error code. */
export interface CallState {
  /** `idle`: the agent is not connected to a channel yet. */
  readonly name: CallStateName;
  readonly code: string;
  readonly why: string;
  /** For `reconnecting` and `connecting`: when the next attempt begins, from this event; 0 while one runs. */
  readonly retryInMs: number;
}
