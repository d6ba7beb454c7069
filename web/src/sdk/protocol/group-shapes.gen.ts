// Generated from schema.json by scripts/generate-protocol.mjs; do not edit.

import {
  flag,
  integer,
  list,
  literal,
  nullable,
  optional,
  required,
  type Shape,
  struct,
  text,
} from "./shape";

const GroupMember = struct(null, {
  identity: required(text()),
  name: required(text()),
  order: required(integer()),
  modes: required(list(literal("datachannel", "host", "mesh", "relay", "sfu"))),
  has_media: optional(flag, () => false),
});

const GroupHost = struct(null, {
  identity: required(text()),
  term: required(integer()),
  successor: optional(text()),
});

const GroupProposal = struct(null, {
  mode: required(literal("datachannel", "host", "mesh", "relay", "sfu")),
  term: required(integer()),
  by: required(text()),
  reason: required(text()),
  waits_ms: required(integer()),
  host: optional(GroupHost),
});

const GroupState = struct("group", {
  version: required(integer()),
  term: required(integer()),
  mode: required(literal("datachannel", "host", "mesh", "relay", "sfu")),
  is_auto: optional(flag, () => false),
  reason: required(text()),
  members: required(list(GroupMember)),
  is_gathering: optional(flag, () => false),
  host: optional(GroupHost),
  proposal: optional(GroupProposal),
}, "kind");

const ProposalEnded = struct("proposal_ended", {
  term: required(integer()),
  mode: required(literal("datachannel", "host", "mesh", "relay", "sfu")),
  code: required(literal("host_left", "not_supported", "superseded", "timeout", "vetoed")),
  reason: required(text()),
  by: optional(text()),
}, "kind");

const Removed = struct("removed", {
  code: required(text()),
  message: required(text()),
}, "kind");

const OfferedTrack = struct(null, {
  mid: required(text()),
  publication: required(text()),
  source: optional(literal("camera", "microphone", "other", "screen", "screen_audio"), () => "other"),
  is_muted: optional(flag, () => false),
  is_sealed: optional(flag, () => false),
});

const PeerOffer = struct("peer_offer", {
  link: required(text(1, 64)),
  number: required(integer()),
  sdp: required(text()),
  is_restart: optional(flag, () => false),
  can_restart: optional(flag, () => false),
  tracks: optional(list(OfferedTrack), () => []),
}, "kind");

const PeerAnswer = struct("peer_answer", {
  link: required(text(1, 64)),
  number: required(integer()),
  sdp: required(text()),
  can_restart: optional(flag, () => false),
  tracks: optional(list(OfferedTrack), () => []),
}, "kind");

const PeerCandidate = struct("peer_candidate", {
  link: required(text(1, 64)),
  candidate: optional(nullable(text()), () => null),
  mid: optional(nullable(text()), () => null),
  line: optional(nullable(integer()), () => null),
}, "kind");

const PeerWanted = struct("peer_wanted", {
  link: optional(text(1, 64)),
  media: optional(list(literal("audio", "video")), () => []),
}, "kind");

const PeerClose = struct("peer_close", {
  link: required(text(1, 64)),
  reason: optional(text(0, 200), () => ""),
}, "kind");

export const GROUP_SIGNALS: Readonly<Record<string, Shape>> = {
  group: GroupState,
  proposal_ended: ProposalEnded,
  removed: Removed,
};

export const PEER_SIGNALS: Readonly<Record<string, Shape>> = {
  peer_offer: PeerOffer,
  peer_answer: PeerAnswer,
  peer_candidate: PeerCandidate,
  peer_wanted: PeerWanted,
  peer_close: PeerClose,
};
