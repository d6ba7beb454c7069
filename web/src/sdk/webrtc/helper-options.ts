/**
 * What `WebRTCHelper` is given, and what it tells.
 *
 * Owns the shapes only.
 */

import type { ProtocolError } from "../protocol/errors";
import type { WantedMode } from "./group-follower";
import type { Simulation } from "./network-simulator";
import type { LocalPublication } from "./publications";
import type {
  ActiveSpeaker,
  CallState,
  DataEvent,
  EncryptionEvent,
  ModeEvent,
  Peer,
  PeerStateEvent,
  TrackEvent,
} from "./records";

/** What the constructor takes. */
export interface WebRTCOptions {
  /**
   * How data and media travel: `mesh` (a connection to each), `host` (through one member, in one order for all), `relay`
   * (through the signaling server), `datachannel` (data through the media worker), `sfu` (data and media through it), or
   * `auto`, as by default: the server chooses, and goes on choosing. The first one in the channel says it, later ones take
   * what they find.
   */
  readonly mode?: WantedMode | undefined;
  /** Whether a peer to which no link stands is reached by the server meanwhile. By default as `enableWebrtcRelay` of `connect`: yes. */
  readonly carry?: boolean | undefined;
  /** A worse network than there is, for trying what an application does in it; `simulate` changes it. */
  readonly simulate?: Simulation | undefined;
  /** STUN and TURN servers, instead of those that the server hands out. */
  readonly iceServers?: readonly RTCIceServer[] | undefined;
  /** `relay`: through a TURN server only. */
  readonly iceTransportPolicy?: RTCIceTransportPolicy | undefined;
  /**
   * Whether frames are end-to-end encrypted, so that the server cannot see or hear them. By default they are if the channel
   * is sealed. False switches it off: who has it on is not seen or heard then, and sees and hears nothing of this side.
   * True asks for it in an open channel, which has to have a password.
   */
  readonly e2ee?: boolean | undefined;
}

/** What `sendData` takes besides the payload. */
export interface DataOptions {
  /** Names or identities; everyone else in the call if it is left out. */
  readonly to?: string | readonly string[] | undefined;
  /** False: may be lost, comes in no order, and waits for nothing. */
  readonly reliable?: boolean | undefined;
  /** The same as `reliable: false`. */
  readonly lossy?: boolean | undefined;
}

/** Every event by its name, for `on` and `off`. */
export interface WebRTCEvents {
  readonly track: TrackEvent;
  readonly trackEnded: TrackEvent;
  /** Somebody came or went, published, unpublished or muted. */
  readonly peers: readonly Peer[];
  /** Who speaks now, the loudest first; empty: nobody. */
  readonly activeSpeaker: readonly ActiveSpeaker[];
  readonly data: DataEvent;
  readonly state: CallState;
  /** The encryption of a received publication stands otherwise than before. */
  readonly encryptionState: EncryptionEvent;
  /** The own publications changed: one was taken, refused or has ended. */
  readonly publications: readonly LocalPublication[];
  /** A mode holds: the first one, or another. */
  readonly mode: ModeEvent;
  /** A peer is reached otherwise than before. */
  readonly peerState: PeerStateEvent;
  /** There is a host, in mode `host`, maybe this side itself. */
  readonly host: HostEvent;
  readonly error: ProtocolError;
}

/** Who is host. */
export interface HostEvent {
  readonly host: Peer;
  /** Rises with every host. */
  readonly term: number;
  /** The newest state that is here, null if none is: what a new host goes on from. */
  readonly state: unknown;
}

export const MODES: readonly WantedMode[] = ["mesh", "host", "relay", "datachannel", "sfu", "auto"];
