// Generated from schema.json by scripts/generate-protocol.mjs; do not edit.

import {
  flag,
  integer,
  list,
  literal,
  number,
  object,
  optional,
  required,
  type Shape,
  struct,
  text,
} from "./shape";

const OfferedTrack = struct(null, {
  mid: required(text()),
  publication: required(text()),
  source: optional(literal("camera", "microphone", "other", "screen", "screen_audio"), () => "other"),
  is_muted: optional(flag, () => false),
  is_sealed: optional(flag, () => false),
});

const Offer = struct("offer", {
  connection: required(text()),
  number: required(integer()),
  sdp: required(text()),
  tracks: optional(list(OfferedTrack), () => []),
  slots: optional(list(text()), () => []),
}, "kind");

const Mute = struct("mute", {
  connection: required(text()),
  publication: required(text()),
  is_muted: required(flag),
}, "kind");

const Unpublish = struct("unpublish", {
  connection: required(text()),
  publication: required(text()),
}, "kind");

const Leave = struct("leave", {
  connection: required(text()),
}, "kind");

const Answer = struct("answer", {
  connection: required(text()),
  number: required(integer()),
  sdp: required(text()),
  term: required(integer()),
}, "kind");

const Refused = struct("refused", {
  connection: required(text()),
  number: optional(integer()),
  code: required(text()),
  message: required(text()),
  details: optional(object, () => ({})),
}, "kind");

const Publication = struct(null, {
  publication: required(text()),
  participant: required(text()),
  name: required(text()),
  media: required(literal("audio", "video")),
  source: optional(literal("camera", "microphone", "other", "screen", "screen_audio"), () => "other"),
  is_muted: optional(flag, () => false),
  is_sealed: optional(flag, () => false),
});

const Caller = struct(null, {
  identity: required(text()),
  name: required(text()),
});

const Publications = struct("publications", {
  term: required(integer()),
  version: required(integer()),
  publications: required(list(Publication)),
  callers: optional(list(Caller), () => []),
}, "kind");

const Binding = struct(null, {
  mid: required(text()),
  publication: optional(text()),
});

const Slots = struct("slots", {
  connection: required(text()),
  version: required(integer()),
  bindings: required(list(Binding)),
  wanting: optional(integer(), () => 0),
}, "kind");

const Speaker = struct(null, {
  participant: required(text()),
  level: required(number),
});

const Speakers = struct("speakers", {
  speakers: required(list(Speaker)),
}, "kind");

const Restart = struct("restart", {
  term: required(integer()),
  reason: required(text()),
}, "kind");

const Ended = struct("ended", {
  connection: required(text()),
  code: required(text()),
  message: required(text()),
}, "kind");

export const CLIENT_SIGNALS: Readonly<Record<string, Shape>> = {
  offer: Offer,
  mute: Mute,
  unpublish: Unpublish,
  leave: Leave,
};

export const SFU_SIGNALS: Readonly<Record<string, Shape>> = {
  answer: Answer,
  refused: Refused,
  publications: Publications,
  slots: Slots,
  speakers: Speakers,
  restart: Restart,
  ended: Ended,
};
