/**
 * peerbus for browsers: channels, named agents, presence, messages, and calls.
 *
 * Owns what the module `peerbus` exports.
 */

import { noteScriptAddress } from "./agent/address";

noteScriptAddress(import.meta.url);

export { AgentConnection } from "./agent/agent";
export type { AgentEvents, ConnectInfo, DisconnectInfo, Gap } from "./agent/events";
export type { ConnectOptions, MessageOptions, PollSource, ReceiveOptions } from "./agent/options";
export type {
  Ack,
  AckPromise,
  Channel,
  Delivery,
  Departure,
  Filter,
  History,
  Member,
  Message,
  Presence,
  State,
} from "./agent/records";
export type { SealingCounters } from "./agent/sealed-channel";
export { SealingError } from "./agent/sealing-error";
export { type ErrorCode, type ErrorInfo, errorInfo, ProtocolError as PeerbusError } from "./protocol/errors";
export type { Mode, WantedMode } from "./webrtc/group-follower";
export { WebRTCHelper } from "./webrtc/helper";
export type { DataOptions, HostEvent, WebRTCEvents, WebRTCOptions } from "./webrtc/helper-options";
export type { Simulation } from "./webrtc/network-simulator";
export type { PeerStats } from "./webrtc/peer-stats";
export type { LocalPublication, PublishOptions } from "./webrtc/publications";
export type {
  ActiveSpeaker,
  CallState,
  CallStateName,
  DataEvent,
  EncryptionEvent,
  EncryptionState,
  MediaKind,
  ModeEvent,
  Peer,
  PeerState,
  PeerStateEvent,
  RemotePublication,
  Source,
  TrackEvent,
  TrackInfo,
} from "./webrtc/records";
export type {
  CallStats,
  ConnectionStats,
  DataStats,
  HelperStats,
  ReceivedStats,
  SentStats,
} from "./webrtc/stats";

/** The version of this SDK. */
export const version: string = __PEERBUS_VERSION__;
